import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from milimo.v1 import assets_pb2 as _assets_pb2
from milimo.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_QUEUED: _ClassVar[JobState]
    JOB_STATE_WAITING_FOR_LEASE: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_SUCCEEDED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_CANCELLED: _ClassVar[JobState]

class JobKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_KIND_UNSPECIFIED: _ClassVar[JobKind]
    JOB_KIND_VIDEO: _ClassVar[JobKind]
    JOB_KIND_IMAGE: _ClassVar[JobKind]
    JOB_KIND_INPAINT: _ClassVar[JobKind]
    JOB_KIND_THUMBNAILS: _ClassVar[JobKind]
    JOB_KIND_ELEMENT_VISUAL: _ClassVar[JobKind]
    JOB_KIND_SHOT: _ClassVar[JobKind]
    JOB_KIND_SHOTS: _ClassVar[JobKind]
    JOB_KIND_RENDER: _ClassVar[JobKind]
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_QUEUED: JobState
JOB_STATE_WAITING_FOR_LEASE: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_SUCCEEDED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_CANCELLED: JobState
JOB_KIND_UNSPECIFIED: JobKind
JOB_KIND_VIDEO: JobKind
JOB_KIND_IMAGE: JobKind
JOB_KIND_INPAINT: JobKind
JOB_KIND_THUMBNAILS: JobKind
JOB_KIND_ELEMENT_VISUAL: JobKind
JOB_KIND_SHOT: JobKind
JOB_KIND_SHOTS: JobKind
JOB_KIND_RENDER: JobKind

class JobSubject(_message.Message):
    __slots__ = ("project_id", "shot_id", "element_id")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    SHOT_ID_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_ID_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    shot_id: str
    element_id: str
    def __init__(self, project_id: _Optional[str] = ..., shot_id: _Optional[str] = ..., element_id: _Optional[str] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "kind", "subject", "state", "priority", "attempt", "created_at", "started_at", "ended_at", "last_sequence", "assets", "error", "retry_of", "cancel_requested", "parameters", "fraction")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ASSETS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RETRY_OF_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: JobKind
    subject: JobSubject
    state: JobState
    priority: _common_pb2.Priority
    attempt: int
    created_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    last_sequence: int
    assets: _containers.RepeatedCompositeFieldContainer[_assets_pb2.Asset]
    error: _status_pb2.Status
    retry_of: str
    cancel_requested: bool
    parameters: _struct_pb2.Struct
    fraction: float
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[_Union[JobKind, str]] = ..., subject: _Optional[_Union[JobSubject, _Mapping]] = ..., state: _Optional[_Union[JobState, str]] = ..., priority: _Optional[_Union[_common_pb2.Priority, str]] = ..., attempt: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_sequence: _Optional[int] = ..., assets: _Optional[_Iterable[_Union[_assets_pb2.Asset, _Mapping]]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., retry_of: _Optional[str] = ..., cancel_requested: _Optional[bool] = ..., parameters: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., fraction: _Optional[float] = ...) -> None: ...

class JobEvent(_message.Message):
    __slots__ = ("job_id", "sequence", "durable", "time", "subject", "state", "accepted", "state_changed", "artefact_committed", "chunk_committed", "prompt_enhanced", "notice", "failed", "snapshot", "progress", "queue_position", "preview")
    class Accepted(_message.Message):
        __slots__ = ("job",)
        JOB_FIELD_NUMBER: _ClassVar[int]
        job: Job
        def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...
    class StateChanged(_message.Message):
        __slots__ = ("attempt", "reason")
        ATTEMPT_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        attempt: int
        reason: str
        def __init__(self, attempt: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...
    class ArtefactCommitted(_message.Message):
        __slots__ = ("asset",)
        ASSET_FIELD_NUMBER: _ClassVar[int]
        asset: _assets_pb2.Asset
        def __init__(self, asset: _Optional[_Union[_assets_pb2.Asset, _Mapping]] = ...) -> None: ...
    class ChunkCommitted(_message.Message):
        __slots__ = ("chunk", "chunks")
        CHUNK_FIELD_NUMBER: _ClassVar[int]
        CHUNKS_FIELD_NUMBER: _ClassVar[int]
        chunk: int
        chunks: int
        def __init__(self, chunk: _Optional[int] = ..., chunks: _Optional[int] = ...) -> None: ...
    class PromptEnhanced(_message.Message):
        __slots__ = ("prompt", "provider")
        PROMPT_FIELD_NUMBER: _ClassVar[int]
        PROVIDER_FIELD_NUMBER: _ClassVar[int]
        prompt: str
        provider: str
        def __init__(self, prompt: _Optional[str] = ..., provider: _Optional[str] = ...) -> None: ...
    class Notice(_message.Message):
        __slots__ = ("code", "text")
        CODE_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        code: str
        text: str
        def __init__(self, code: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...
    class Failed(_message.Message):
        __slots__ = ("error",)
        ERROR_FIELD_NUMBER: _ClassVar[int]
        error: _status_pb2.Status
        def __init__(self, error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...
    class Snapshot(_message.Message):
        __slots__ = ("job",)
        JOB_FIELD_NUMBER: _ClassVar[int]
        job: Job
        def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...
    class Progress(_message.Message):
        __slots__ = ("stage", "step", "steps", "fraction", "eta")
        STAGE_FIELD_NUMBER: _ClassVar[int]
        STEP_FIELD_NUMBER: _ClassVar[int]
        STEPS_FIELD_NUMBER: _ClassVar[int]
        FRACTION_FIELD_NUMBER: _ClassVar[int]
        ETA_FIELD_NUMBER: _ClassVar[int]
        stage: str
        step: int
        steps: int
        fraction: float
        eta: _duration_pb2.Duration
        def __init__(self, stage: _Optional[str] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., fraction: _Optional[float] = ..., eta: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
    class QueuePosition(_message.Message):
        __slots__ = ("position", "eta", "reason")
        POSITION_FIELD_NUMBER: _ClassVar[int]
        ETA_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        position: int
        eta: _duration_pb2.Duration
        reason: str
        def __init__(self, position: _Optional[int] = ..., eta: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...
    class Preview(_message.Message):
        __slots__ = ("image", "width", "height")
        IMAGE_FIELD_NUMBER: _ClassVar[int]
        WIDTH_FIELD_NUMBER: _ClassVar[int]
        HEIGHT_FIELD_NUMBER: _ClassVar[int]
        image: bytes
        width: int
        height: int
        def __init__(self, image: _Optional[bytes] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    STATE_CHANGED_FIELD_NUMBER: _ClassVar[int]
    ARTEFACT_COMMITTED_FIELD_NUMBER: _ClassVar[int]
    CHUNK_COMMITTED_FIELD_NUMBER: _ClassVar[int]
    PROMPT_ENHANCED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_POSITION_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    sequence: int
    durable: bool
    time: _timestamp_pb2.Timestamp
    subject: JobSubject
    state: JobState
    accepted: JobEvent.Accepted
    state_changed: JobEvent.StateChanged
    artefact_committed: JobEvent.ArtefactCommitted
    chunk_committed: JobEvent.ChunkCommitted
    prompt_enhanced: JobEvent.PromptEnhanced
    notice: JobEvent.Notice
    failed: JobEvent.Failed
    snapshot: JobEvent.Snapshot
    progress: JobEvent.Progress
    queue_position: JobEvent.QueuePosition
    preview: JobEvent.Preview
    def __init__(self, job_id: _Optional[str] = ..., sequence: _Optional[int] = ..., durable: _Optional[bool] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., subject: _Optional[_Union[JobSubject, _Mapping]] = ..., state: _Optional[_Union[JobState, str]] = ..., accepted: _Optional[_Union[JobEvent.Accepted, _Mapping]] = ..., state_changed: _Optional[_Union[JobEvent.StateChanged, _Mapping]] = ..., artefact_committed: _Optional[_Union[JobEvent.ArtefactCommitted, _Mapping]] = ..., chunk_committed: _Optional[_Union[JobEvent.ChunkCommitted, _Mapping]] = ..., prompt_enhanced: _Optional[_Union[JobEvent.PromptEnhanced, _Mapping]] = ..., notice: _Optional[_Union[JobEvent.Notice, _Mapping]] = ..., failed: _Optional[_Union[JobEvent.Failed, _Mapping]] = ..., snapshot: _Optional[_Union[JobEvent.Snapshot, _Mapping]] = ..., progress: _Optional[_Union[JobEvent.Progress, _Mapping]] = ..., queue_position: _Optional[_Union[JobEvent.QueuePosition, _Mapping]] = ..., preview: _Optional[_Union[JobEvent.Preview, _Mapping]] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class GetJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("project_id", "states", "page_size", "page_token")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    states: _containers.RepeatedScalarFieldContainer[JobState]
    page_size: int
    page_token: str
    def __init__(self, project_id: _Optional[str] = ..., states: _Optional[_Iterable[_Union[JobState, str]]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchJobRequest(_message.Message):
    __slots__ = ("job_id", "after_sequence", "previews")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PREVIEWS_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    after_sequence: int
    previews: bool
    def __init__(self, job_id: _Optional[str] = ..., after_sequence: _Optional[int] = ..., previews: _Optional[bool] = ...) -> None: ...

class WatchJobsRequest(_message.Message):
    __slots__ = ("project_id", "previews")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PREVIEWS_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    previews: bool
    def __init__(self, project_id: _Optional[str] = ..., previews: _Optional[bool] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("job_id", "keep_partial")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    KEEP_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    keep_partial: bool
    def __init__(self, job_id: _Optional[str] = ..., keep_partial: _Optional[bool] = ...) -> None: ...

class CancelJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class RetryJobRequest(_message.Message):
    __slots__ = ("job_id", "request_id")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    request_id: str
    def __init__(self, job_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class RetryJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class UpdateJobRequest(_message.Message):
    __slots__ = ("job_id", "priority", "request_id")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    priority: _common_pb2.Priority
    request_id: str
    def __init__(self, job_id: _Optional[str] = ..., priority: _Optional[_Union[_common_pb2.Priority, str]] = ..., request_id: _Optional[str] = ...) -> None: ...

class UpdateJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class DeleteJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class DeleteJobResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PauseQueueRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PauseQueueResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResumeQueueRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResumeQueueResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
