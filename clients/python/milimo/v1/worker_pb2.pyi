from buf.validate import validate_pb2 as _validate_pb2
from milimo.v1 import jobs_pb2 as _jobs_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class FollowJobRequest(_message.Message):
    __slots__ = ("job_id", "after_sequence", "previews")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PREVIEWS_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    after_sequence: int
    previews: bool
    def __init__(self, job_id: _Optional[str] = ..., after_sequence: _Optional[int] = ..., previews: _Optional[bool] = ...) -> None: ...

class FollowJobsRequest(_message.Message):
    __slots__ = ("project_id", "previews")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PREVIEWS_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    previews: bool
    def __init__(self, project_id: _Optional[str] = ..., previews: _Optional[bool] = ...) -> None: ...

class NotifyJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class NotifyJobResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
