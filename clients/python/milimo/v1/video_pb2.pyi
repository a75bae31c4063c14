from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from milimo.v1 import common_pb2 as _common_pb2
from milimo.v1 import jobs_pb2 as _jobs_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VideoPipeline(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VIDEO_PIPELINE_UNSPECIFIED: _ClassVar[VideoPipeline]
    VIDEO_PIPELINE_TI2VID: _ClassVar[VideoPipeline]
    VIDEO_PIPELINE_KEYFRAME: _ClassVar[VideoPipeline]
    VIDEO_PIPELINE_IC_LORA: _ClassVar[VideoPipeline]
    VIDEO_PIPELINE_IMAGE: _ClassVar[VideoPipeline]

class ChunkHandoff(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHUNK_HANDOFF_UNSPECIFIED: _ClassVar[ChunkHandoff]
    CHUNK_HANDOFF_LATENT: _ClassVar[ChunkHandoff]
    CHUNK_HANDOFF_REENCODE: _ClassVar[ChunkHandoff]
VIDEO_PIPELINE_UNSPECIFIED: VideoPipeline
VIDEO_PIPELINE_TI2VID: VideoPipeline
VIDEO_PIPELINE_KEYFRAME: VideoPipeline
VIDEO_PIPELINE_IC_LORA: VideoPipeline
VIDEO_PIPELINE_IMAGE: VideoPipeline
CHUNK_HANDOFF_UNSPECIFIED: ChunkHandoff
CHUNK_HANDOFF_LATENT: ChunkHandoff
CHUNK_HANDOFF_REENCODE: ChunkHandoff

class VideoCondition(_message.Message):
    __slots__ = ("asset_id", "frame_index", "strength")
    ASSET_ID_FIELD_NUMBER: _ClassVar[int]
    FRAME_INDEX_FIELD_NUMBER: _ClassVar[int]
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    asset_id: str
    frame_index: int
    strength: float
    def __init__(self, asset_id: _Optional[str] = ..., frame_index: _Optional[int] = ..., strength: _Optional[float] = ...) -> None: ...

class VideoParameters(_message.Message):
    __slots__ = ("prompt", "negative_prompt", "seed", "width", "height", "num_frames", "fps", "steps", "cfg_scale", "pipeline_override", "conditions", "loras", "enhance_prompt", "upscale", "handoff", "overlap_frames", "match_statistics", "chunk_prompts", "extend_asset_id", "retake", "priority", "shot_id")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    NUM_FRAMES_FIELD_NUMBER: _ClassVar[int]
    FPS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    CFG_SCALE_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_OVERRIDE_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    LORAS_FIELD_NUMBER: _ClassVar[int]
    ENHANCE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    UPSCALE_FIELD_NUMBER: _ClassVar[int]
    HANDOFF_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FRAMES_FIELD_NUMBER: _ClassVar[int]
    MATCH_STATISTICS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_PROMPTS_FIELD_NUMBER: _ClassVar[int]
    EXTEND_ASSET_ID_FIELD_NUMBER: _ClassVar[int]
    RETAKE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    SHOT_ID_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    negative_prompt: str
    seed: int
    width: int
    height: int
    num_frames: int
    fps: int
    steps: int
    cfg_scale: float
    pipeline_override: VideoPipeline
    conditions: _containers.RepeatedCompositeFieldContainer[VideoCondition]
    loras: _containers.RepeatedCompositeFieldContainer[_common_pb2.Lora]
    enhance_prompt: bool
    upscale: bool
    handoff: ChunkHandoff
    overlap_frames: int
    match_statistics: bool
    chunk_prompts: _containers.RepeatedScalarFieldContainer[str]
    extend_asset_id: str
    retake: Retake
    priority: _common_pb2.Priority
    shot_id: str
    def __init__(self, prompt: _Optional[str] = ..., negative_prompt: _Optional[str] = ..., seed: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., num_frames: _Optional[int] = ..., fps: _Optional[int] = ..., steps: _Optional[int] = ..., cfg_scale: _Optional[float] = ..., pipeline_override: _Optional[_Union[VideoPipeline, str]] = ..., conditions: _Optional[_Iterable[_Union[VideoCondition, _Mapping]]] = ..., loras: _Optional[_Iterable[_Union[_common_pb2.Lora, _Mapping]]] = ..., enhance_prompt: _Optional[bool] = ..., upscale: _Optional[bool] = ..., handoff: _Optional[_Union[ChunkHandoff, str]] = ..., overlap_frames: _Optional[int] = ..., match_statistics: _Optional[bool] = ..., chunk_prompts: _Optional[_Iterable[str]] = ..., extend_asset_id: _Optional[str] = ..., retake: _Optional[_Union[Retake, _Mapping]] = ..., priority: _Optional[_Union[_common_pb2.Priority, str]] = ..., shot_id: _Optional[str] = ...) -> None: ...

class Retake(_message.Message):
    __slots__ = ("asset_id", "first_frame", "last_frame")
    ASSET_ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_FRAME_FIELD_NUMBER: _ClassVar[int]
    LAST_FRAME_FIELD_NUMBER: _ClassVar[int]
    asset_id: str
    first_frame: int
    last_frame: int
    def __init__(self, asset_id: _Optional[str] = ..., first_frame: _Optional[int] = ..., last_frame: _Optional[int] = ...) -> None: ...

class PlanVideoRequest(_message.Message):
    __slots__ = ("project_id", "video")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    video: VideoParameters
    def __init__(self, project_id: _Optional[str] = ..., video: _Optional[_Union[VideoParameters, _Mapping]] = ...) -> None: ...

class PlanVideoResponse(_message.Message):
    __slots__ = ("plan",)
    PLAN_FIELD_NUMBER: _ClassVar[int]
    plan: VideoPlan
    def __init__(self, plan: _Optional[_Union[VideoPlan, _Mapping]] = ...) -> None: ...

class VideoPlan(_message.Message):
    __slots__ = ("pipeline", "reason", "width", "height", "num_frames", "fps", "model_width", "model_height", "model_frames", "chunks", "stages", "memory_bytes", "footprint", "duration_seconds", "model", "distilled", "notices")
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    NUM_FRAMES_FIELD_NUMBER: _ClassVar[int]
    FPS_FIELD_NUMBER: _ClassVar[int]
    MODEL_WIDTH_FIELD_NUMBER: _ClassVar[int]
    MODEL_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FRAMES_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    FOOTPRINT_FIELD_NUMBER: _ClassVar[int]
    DURATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DISTILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    pipeline: VideoPipeline
    reason: str
    width: int
    height: int
    num_frames: int
    fps: float
    model_width: int
    model_height: int
    model_frames: int
    chunks: _containers.RepeatedCompositeFieldContainer[VideoChunk]
    stages: _containers.RepeatedCompositeFieldContainer[VideoStage]
    memory_bytes: int
    footprint: str
    duration_seconds: float
    model: str
    distilled: bool
    notices: _containers.RepeatedCompositeFieldContainer[_jobs_pb2.JobEvent.Notice]
    def __init__(self, pipeline: _Optional[_Union[VideoPipeline, str]] = ..., reason: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., num_frames: _Optional[int] = ..., fps: _Optional[float] = ..., model_width: _Optional[int] = ..., model_height: _Optional[int] = ..., model_frames: _Optional[int] = ..., chunks: _Optional[_Iterable[_Union[VideoChunk, _Mapping]]] = ..., stages: _Optional[_Iterable[_Union[VideoStage, _Mapping]]] = ..., memory_bytes: _Optional[int] = ..., footprint: _Optional[str] = ..., duration_seconds: _Optional[float] = ..., model: _Optional[str] = ..., distilled: _Optional[bool] = ..., notices: _Optional[_Iterable[_Union[_jobs_pb2.JobEvent.Notice, _Mapping]]] = ...) -> None: ...

class VideoChunk(_message.Message):
    __slots__ = ("model_frames", "new_frames", "first_frame")
    MODEL_FRAMES_FIELD_NUMBER: _ClassVar[int]
    NEW_FRAMES_FIELD_NUMBER: _ClassVar[int]
    FIRST_FRAME_FIELD_NUMBER: _ClassVar[int]
    model_frames: int
    new_frames: int
    first_frame: int
    def __init__(self, model_frames: _Optional[int] = ..., new_frames: _Optional[int] = ..., first_frame: _Optional[int] = ...) -> None: ...

class VideoStage(_message.Message):
    __slots__ = ("name", "steps", "forwards")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    FORWARDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    steps: int
    forwards: int
    def __init__(self, name: _Optional[str] = ..., steps: _Optional[int] = ..., forwards: _Optional[int] = ...) -> None: ...

class GenerateVideoRequest(_message.Message):
    __slots__ = ("project_id", "video", "request_id", "previews")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PREVIEWS_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    video: VideoParameters
    request_id: str
    previews: bool
    def __init__(self, project_id: _Optional[str] = ..., video: _Optional[_Union[VideoParameters, _Mapping]] = ..., request_id: _Optional[str] = ..., previews: _Optional[bool] = ...) -> None: ...

class SubmitVideoRequest(_message.Message):
    __slots__ = ("project_id", "video", "request_id")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    video: VideoParameters
    request_id: str
    def __init__(self, project_id: _Optional[str] = ..., video: _Optional[_Union[VideoParameters, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitVideoResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _jobs_pb2.Job
    def __init__(self, job: _Optional[_Union[_jobs_pb2.Job, _Mapping]] = ...) -> None: ...
