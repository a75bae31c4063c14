from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from milimo.v1 import jobs_pb2 as _jobs_pb2
from milimo.v1 import video_pb2 as _video_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScriptMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCRIPT_MODE_UNSPECIFIED: _ClassVar[ScriptMode]
    SCRIPT_MODE_AUTO: _ClassVar[ScriptMode]
    SCRIPT_MODE_SCREENPLAY: _ClassVar[ScriptMode]
    SCRIPT_MODE_NUMBERED: _ClassVar[ScriptMode]
    SCRIPT_MODE_FREEFORM: _ClassVar[ScriptMode]

class ShotType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SHOT_TYPE_UNSPECIFIED: _ClassVar[ShotType]
    SHOT_TYPE_CLOSE_UP: _ClassVar[ShotType]
    SHOT_TYPE_MEDIUM: _ClassVar[ShotType]
    SHOT_TYPE_WIDE: _ClassVar[ShotType]
    SHOT_TYPE_ESTABLISHING: _ClassVar[ShotType]
    SHOT_TYPE_INSERT: _ClassVar[ShotType]
    SHOT_TYPE_TRACKING: _ClassVar[ShotType]

class ShotStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SHOT_STATUS_UNSPECIFIED: _ClassVar[ShotStatus]
    SHOT_STATUS_PENDING: _ClassVar[ShotStatus]
    SHOT_STATUS_GENERATING: _ClassVar[ShotStatus]
    SHOT_STATUS_COMPLETED: _ClassVar[ShotStatus]
    SHOT_STATUS_FAILED: _ClassVar[ShotStatus]
SCRIPT_MODE_UNSPECIFIED: ScriptMode
SCRIPT_MODE_AUTO: ScriptMode
SCRIPT_MODE_SCREENPLAY: ScriptMode
SCRIPT_MODE_NUMBERED: ScriptMode
SCRIPT_MODE_FREEFORM: ScriptMode
SHOT_TYPE_UNSPECIFIED: ShotType
SHOT_TYPE_CLOSE_UP: ShotType
SHOT_TYPE_MEDIUM: ShotType
SHOT_TYPE_WIDE: ShotType
SHOT_TYPE_ESTABLISHING: ShotType
SHOT_TYPE_INSERT: ShotType
SHOT_TYPE_TRACKING: ShotType
SHOT_STATUS_UNSPECIFIED: ShotStatus
SHOT_STATUS_PENDING: ShotStatus
SHOT_STATUS_GENERATING: ShotStatus
SHOT_STATUS_COMPLETED: ShotStatus
SHOT_STATUS_FAILED: ShotStatus

class SourceSpan(_message.Message):
    __slots__ = ("start", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: int
    end: int
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class ParsedScene(_message.Message):
    __slots__ = ("heading", "source", "shots", "notes")
    HEADING_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SHOTS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    heading: str
    source: SourceSpan
    shots: _containers.RepeatedCompositeFieldContainer[ParsedShot]
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, heading: _Optional[str] = ..., source: _Optional[_Union[SourceSpan, _Mapping]] = ..., shots: _Optional[_Iterable[_Union[ParsedShot, _Mapping]]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class ParsedShot(_message.Message):
    __slots__ = ("action", "dialogue", "character", "parenthetical", "shot_type", "source", "matched_elements")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    DIALOGUE_FIELD_NUMBER: _ClassVar[int]
    CHARACTER_FIELD_NUMBER: _ClassVar[int]
    PARENTHETICAL_FIELD_NUMBER: _ClassVar[int]
    SHOT_TYPE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MATCHED_ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    action: str
    dialogue: str
    character: str
    parenthetical: str
    shot_type: ShotType
    source: SourceSpan
    matched_elements: _containers.RepeatedCompositeFieldContainer[ElementMatch]
    def __init__(self, action: _Optional[str] = ..., dialogue: _Optional[str] = ..., character: _Optional[str] = ..., parenthetical: _Optional[str] = ..., shot_type: _Optional[_Union[ShotType, str]] = ..., source: _Optional[_Union[SourceSpan, _Mapping]] = ..., matched_elements: _Optional[_Iterable[_Union[ElementMatch, _Mapping]]] = ...) -> None: ...

class ElementMatch(_message.Message):
    __slots__ = ("element_id", "name", "confidence", "signal", "matched_text")
    ELEMENT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    MATCHED_TEXT_FIELD_NUMBER: _ClassVar[int]
    element_id: str
    name: str
    confidence: float
    signal: str
    matched_text: str
    def __init__(self, element_id: _Optional[str] = ..., name: _Optional[str] = ..., confidence: _Optional[float] = ..., signal: _Optional[str] = ..., matched_text: _Optional[str] = ...) -> None: ...

class Scene(_message.Message):
    __slots__ = ("id", "project_id", "index", "name", "script_content")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCRIPT_CONTENT_FIELD_NUMBER: _ClassVar[int]
    id: str
    project_id: str
    index: int
    name: str
    script_content: str
    def __init__(self, id: _Optional[str] = ..., project_id: _Optional[str] = ..., index: _Optional[int] = ..., name: _Optional[str] = ..., script_content: _Optional[str] = ...) -> None: ...

class Shot(_message.Message):
    __slots__ = ("id", "project_id", "scene_id", "index", "track_index", "start_frame", "trim_in", "trim_out", "action", "dialogue", "character", "shot_type", "matched_elements", "video", "auto_continue", "enhanced_prompt", "status", "last_job_id", "video_asset_id", "thumbnail_asset_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    SCENE_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TRACK_INDEX_FIELD_NUMBER: _ClassVar[int]
    START_FRAME_FIELD_NUMBER: _ClassVar[int]
    TRIM_IN_FIELD_NUMBER: _ClassVar[int]
    TRIM_OUT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    DIALOGUE_FIELD_NUMBER: _ClassVar[int]
    CHARACTER_FIELD_NUMBER: _ClassVar[int]
    SHOT_TYPE_FIELD_NUMBER: _ClassVar[int]
    MATCHED_ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    AUTO_CONTINUE_FIELD_NUMBER: _ClassVar[int]
    ENHANCED_PROMPT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    LAST_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    VIDEO_ASSET_ID_FIELD_NUMBER: _ClassVar[int]
    THUMBNAIL_ASSET_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    project_id: str
    scene_id: str
    index: int
    track_index: int
    start_frame: int
    trim_in: int
    trim_out: int
    action: str
    dialogue: str
    character: str
    shot_type: ShotType
    matched_elements: _containers.RepeatedCompositeFieldContainer[ElementMatch]
    video: _video_pb2.VideoParameters
    auto_continue: bool
    enhanced_prompt: str
    status: ShotStatus
    last_job_id: str
    video_asset_id: str
    thumbnail_asset_id: str
    def __init__(self, id: _Optional[str] = ..., project_id: _Optional[str] = ..., scene_id: _Optional[str] = ..., index: _Optional[int] = ..., track_index: _Optional[int] = ..., start_frame: _Optional[int] = ..., trim_in: _Optional[int] = ..., trim_out: _Optional[int] = ..., action: _Optional[str] = ..., dialogue: _Optional[str] = ..., character: _Optional[str] = ..., shot_type: _Optional[_Union[ShotType, str]] = ..., matched_elements: _Optional[_Iterable[_Union[ElementMatch, _Mapping]]] = ..., video: _Optional[_Union[_video_pb2.VideoParameters, _Mapping]] = ..., auto_continue: _Optional[bool] = ..., enhanced_prompt: _Optional[str] = ..., status: _Optional[_Union[ShotStatus, str]] = ..., last_job_id: _Optional[str] = ..., video_asset_id: _Optional[str] = ..., thumbnail_asset_id: _Optional[str] = ...) -> None: ...

class ParseScriptRequest(_message.Message):
    __slots__ = ("script", "mode", "project_id")
    SCRIPT_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    script: str
    mode: ScriptMode
    project_id: str
    def __init__(self, script: _Optional[str] = ..., mode: _Optional[_Union[ScriptMode, str]] = ..., project_id: _Optional[str] = ...) -> None: ...

class ParseScriptResponse(_message.Message):
    __slots__ = ("scenes", "mode", "reason", "title_page")
    class TitlePageEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SCENES_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TITLE_PAGE_FIELD_NUMBER: _ClassVar[int]
    scenes: _containers.RepeatedCompositeFieldContainer[ParsedScene]
    mode: ScriptMode
    reason: str
    title_page: _containers.ScalarMap[str, str]
    def __init__(self, scenes: _Optional[_Iterable[_Union[ParsedScene, _Mapping]]] = ..., mode: _Optional[_Union[ScriptMode, str]] = ..., reason: _Optional[str] = ..., title_page: _Optional[_Mapping[str, str]] = ...) -> None: ...

class AiParseScriptRequest(_message.Message):
    __slots__ = ("project_id", "script", "seed")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    SCRIPT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    script: str
    seed: int
    def __init__(self, project_id: _Optional[str] = ..., script: _Optional[str] = ..., seed: _Optional[int] = ...) -> None: ...

class AiParseScriptResponse(_message.Message):
    __slots__ = ("scenes", "parser", "fallback_reason")
    SCENES_FIELD_NUMBER: _ClassVar[int]
    PARSER_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_REASON_FIELD_NUMBER: _ClassVar[int]
    scenes: _containers.RepeatedCompositeFieldContainer[ParsedScene]
    parser: str
    fallback_reason: str
    def __init__(self, scenes: _Optional[_Iterable[_Union[ParsedScene, _Mapping]]] = ..., parser: _Optional[str] = ..., fallback_reason: _Optional[str] = ...) -> None: ...

class MatchElementsRequest(_message.Message):
    __slots__ = ("project_id", "scenes", "store")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    SCENES_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    scenes: _containers.RepeatedCompositeFieldContainer[ParsedScene]
    store: bool
    def __init__(self, project_id: _Optional[str] = ..., scenes: _Optional[_Iterable[_Union[ParsedScene, _Mapping]]] = ..., store: _Optional[bool] = ...) -> None: ...

class MatchElementsResponse(_message.Message):
    __slots__ = ("scenes",)
    SCENES_FIELD_NUMBER: _ClassVar[int]
    scenes: _containers.RepeatedCompositeFieldContainer[ParsedScene]
    def __init__(self, scenes: _Optional[_Iterable[_Union[ParsedScene, _Mapping]]] = ...) -> None: ...

class CommitStoryboardRequest(_message.Message):
    __slots__ = ("project_id", "scenes", "shots", "validate_only", "request_id")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    SCENES_FIELD_NUMBER: _ClassVar[int]
    SHOTS_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    scenes: _containers.RepeatedCompositeFieldContainer[Scene]
    shots: _containers.RepeatedCompositeFieldContainer[Shot]
    validate_only: bool
    request_id: str
    def __init__(self, project_id: _Optional[str] = ..., scenes: _Optional[_Iterable[_Union[Scene, _Mapping]]] = ..., shots: _Optional[_Iterable[_Union[Shot, _Mapping]]] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class CommitStoryboardResponse(_message.Message):
    __slots__ = ("scenes", "shots", "deleted_scenes", "deleted_shots")
    SCENES_FIELD_NUMBER: _ClassVar[int]
    SHOTS_FIELD_NUMBER: _ClassVar[int]
    DELETED_SCENES_FIELD_NUMBER: _ClassVar[int]
    DELETED_SHOTS_FIELD_NUMBER: _ClassVar[int]
    scenes: _containers.RepeatedCompositeFieldContainer[Scene]
    shots: _containers.RepeatedCompositeFieldContainer[Shot]
    deleted_scenes: _containers.RepeatedCompositeFieldContainer[Scene]
    deleted_shots: _containers.RepeatedCompositeFieldContainer[Shot]
    def __init__(self, scenes: _Optional[_Iterable[_Union[Scene, _Mapping]]] = ..., shots: _Optional[_Iterable[_Union[Shot, _Mapping]]] = ..., deleted_scenes: _Optional[_Iterable[_Union[Scene, _Mapping]]] = ..., deleted_shots: _Optional[_Iterable[_Union[Shot, _Mapping]]] = ...) -> None: ...

class GetStoryboardRequest(_message.Message):
    __slots__ = ("project_id",)
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    def __init__(self, project_id: _Optional[str] = ...) -> None: ...

class GetStoryboardResponse(_message.Message):
    __slots__ = ("scenes", "shots")
    SCENES_FIELD_NUMBER: _ClassVar[int]
    SHOTS_FIELD_NUMBER: _ClassVar[int]
    scenes: _containers.RepeatedCompositeFieldContainer[Scene]
    shots: _containers.RepeatedCompositeFieldContainer[Shot]
    def __init__(self, scenes: _Optional[_Iterable[_Union[Scene, _Mapping]]] = ..., shots: _Optional[_Iterable[_Union[Shot, _Mapping]]] = ...) -> None: ...

class AddSceneRequest(_message.Message):
    __slots__ = ("project_id", "scene", "request_id")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    SCENE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    scene: Scene
    request_id: str
    def __init__(self, project_id: _Optional[str] = ..., scene: _Optional[_Union[Scene, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class AddSceneResponse(_message.Message):
    __slots__ = ("scene",)
    SCENE_FIELD_NUMBER: _ClassVar[int]
    scene: Scene
    def __init__(self, scene: _Optional[_Union[Scene, _Mapping]] = ...) -> None: ...

class UpdateSceneRequest(_message.Message):
    __slots__ = ("scene", "update_mask", "request_id")
    SCENE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    scene: Scene
    update_mask: _field_mask_pb2.FieldMask
    request_id: str
    def __init__(self, scene: _Optional[_Union[Scene, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class UpdateSceneResponse(_message.Message):
    __slots__ = ("scene",)
    SCENE_FIELD_NUMBER: _ClassVar[int]
    scene: Scene
    def __init__(self, scene: _Optional[_Union[Scene, _Mapping]] = ...) -> None: ...

class DeleteSceneRequest(_message.Message):
    __slots__ = ("scene_id",)
    SCENE_ID_FIELD_NUMBER: _ClassVar[int]
    scene_id: str
    def __init__(self, scene_id: _Optional[str] = ...) -> None: ...

class DeleteSceneResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AddShotRequest(_message.Message):
    __slots__ = ("project_id", "shot", "request_id")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    SHOT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    shot: Shot
    request_id: str
    def __init__(self, project_id: _Optional[str] = ..., shot: _Optional[_Union[Shot, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class AddShotResponse(_message.Message):
    __slots__ = ("shot",)
    SHOT_FIELD_NUMBER: _ClassVar[int]
    shot: Shot
    def __init__(self, shot: _Optional[_Union[Shot, _Mapping]] = ...) -> None: ...

class UpdateShotRequest(_message.Message):
    __slots__ = ("shot", "update_mask", "request_id")
    SHOT_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    shot: Shot
    update_mask: _field_mask_pb2.FieldMask
    request_id: str
    def __init__(self, shot: _Optional[_Union[Shot, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class UpdateShotResponse(_message.Message):
    __slots__ = ("shot",)
    SHOT_FIELD_NUMBER: _ClassVar[int]
    shot: Shot
    def __init__(self, shot: _Optional[_Union[Shot, _Mapping]] = ...) -> None: ...

class DeleteShotRequest(_message.Message):
    __slots__ = ("shot_id",)
    SHOT_ID_FIELD_NUMBER: _ClassVar[int]
    shot_id: str
    def __init__(self, shot_id: _Optional[str] = ...) -> None: ...

class DeleteShotResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SplitShotRequest(_message.Message):
    __slots__ = ("shot_id", "frame", "request_id")
    SHOT_ID_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    shot_id: str
    frame: int
    request_id: str
    def __init__(self, shot_id: _Optional[str] = ..., frame: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class SplitShotResponse(_message.Message):
    __slots__ = ("first", "second")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    first: Shot
    second: Shot
    def __init__(self, first: _Optional[_Union[Shot, _Mapping]] = ..., second: _Optional[_Union[Shot, _Mapping]] = ...) -> None: ...

class ReorderScenesRequest(_message.Message):
    __slots__ = ("project_id", "scene_ids")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    SCENE_IDS_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    scene_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, project_id: _Optional[str] = ..., scene_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ReorderScenesResponse(_message.Message):
    __slots__ = ("scenes",)
    SCENES_FIELD_NUMBER: _ClassVar[int]
    scenes: _containers.RepeatedCompositeFieldContainer[Scene]
    def __init__(self, scenes: _Optional[_Iterable[_Union[Scene, _Mapping]]] = ...) -> None: ...

class ReorderShotsRequest(_message.Message):
    __slots__ = ("project_id", "scene_id", "shot_ids")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    SCENE_ID_FIELD_NUMBER: _ClassVar[int]
    SHOT_IDS_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    scene_id: str
    shot_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, project_id: _Optional[str] = ..., scene_id: _Optional[str] = ..., shot_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ReorderShotsResponse(_message.Message):
    __slots__ = ("shots",)
    SHOTS_FIELD_NUMBER: _ClassVar[int]
    shots: _containers.RepeatedCompositeFieldContainer[Shot]
    def __init__(self, shots: _Optional[_Iterable[_Union[Shot, _Mapping]]] = ...) -> None: ...

class ThumbnailParameters(_message.Message):
    __slots__ = ("shot_ids", "width", "height", "force")
    SHOT_IDS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    shot_ids: _containers.RepeatedScalarFieldContainer[str]
    width: int
    height: int
    force: bool
    def __init__(self, shot_ids: _Optional[_Iterable[str]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., force: _Optional[bool] = ...) -> None: ...

class GenerateThumbnailsRequest(_message.Message):
    __slots__ = ("project_id", "thumbnails", "request_id", "previews")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    THUMBNAILS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PREVIEWS_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    thumbnails: ThumbnailParameters
    request_id: str
    previews: bool
    def __init__(self, project_id: _Optional[str] = ..., thumbnails: _Optional[_Union[ThumbnailParameters, _Mapping]] = ..., request_id: _Optional[str] = ..., previews: _Optional[bool] = ...) -> None: ...

class SubmitThumbnailsRequest(_message.Message):
    __slots__ = ("project_id", "thumbnails", "request_id")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    THUMBNAILS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    thumbnails: ThumbnailParameters
    request_id: str
    def __init__(self, project_id: _Optional[str] = ..., thumbnails: _Optional[_Union[ThumbnailParameters, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitThumbnailsResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _jobs_pb2.Job
    def __init__(self, job: _Optional[_Union[_jobs_pb2.Job, _Mapping]] = ...) -> None: ...

class GenerateShotRequest(_message.Message):
    __slots__ = ("shot_id", "request_id", "previews")
    SHOT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PREVIEWS_FIELD_NUMBER: _ClassVar[int]
    shot_id: str
    request_id: str
    previews: bool
    def __init__(self, shot_id: _Optional[str] = ..., request_id: _Optional[str] = ..., previews: _Optional[bool] = ...) -> None: ...

class SubmitShotRequest(_message.Message):
    __slots__ = ("shot_id", "request_id")
    SHOT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    shot_id: str
    request_id: str
    def __init__(self, shot_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitShotResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _jobs_pb2.Job
    def __init__(self, job: _Optional[_Union[_jobs_pb2.Job, _Mapping]] = ...) -> None: ...

class GenerateShotsRequest(_message.Message):
    __slots__ = ("project_id", "shot_ids", "request_id", "previews")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    SHOT_IDS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PREVIEWS_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    shot_ids: _containers.RepeatedScalarFieldContainer[str]
    request_id: str
    previews: bool
    def __init__(self, project_id: _Optional[str] = ..., shot_ids: _Optional[_Iterable[str]] = ..., request_id: _Optional[str] = ..., previews: _Optional[bool] = ...) -> None: ...

class SubmitShotsRequest(_message.Message):
    __slots__ = ("project_id", "shot_ids", "request_id")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    SHOT_IDS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    shot_ids: _containers.RepeatedScalarFieldContainer[str]
    request_id: str
    def __init__(self, project_id: _Optional[str] = ..., shot_ids: _Optional[_Iterable[str]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitShotsResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _jobs_pb2.Job
    def __init__(self, job: _Optional[_Union[_jobs_pb2.Job, _Mapping]] = ...) -> None: ...

class RenderTimelineRequest(_message.Message):
    __slots__ = ("project_id", "request_id")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    request_id: str
    def __init__(self, project_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitTimelineRenderRequest(_message.Message):
    __slots__ = ("project_id", "request_id")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    request_id: str
    def __init__(self, project_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitTimelineRenderResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _jobs_pb2.Job
    def __init__(self, job: _Optional[_Union[_jobs_pb2.Job, _Mapping]] = ...) -> None: ...

class ExportTimelineRequest(_message.Message):
    __slots__ = ("project_id",)
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    def __init__(self, project_id: _Optional[str] = ...) -> None: ...

class ExportTimelineResponse(_message.Message):
    __slots__ = ("otio_json",)
    OTIO_JSON_FIELD_NUMBER: _ClassVar[int]
    otio_json: str
    def __init__(self, otio_json: _Optional[str] = ...) -> None: ...

class ImportTimelineRequest(_message.Message):
    __slots__ = ("project_id", "otio_json", "request_id")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    OTIO_JSON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    otio_json: str
    request_id: str
    def __init__(self, project_id: _Optional[str] = ..., otio_json: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ImportTimelineResponse(_message.Message):
    __slots__ = ("shots",)
    SHOTS_FIELD_NUMBER: _ClassVar[int]
    shots: _containers.RepeatedCompositeFieldContainer[Shot]
    def __init__(self, shots: _Optional[_Iterable[_Union[Shot, _Mapping]]] = ...) -> None: ...
