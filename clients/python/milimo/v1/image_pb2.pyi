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

class ImageFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMAGE_FORMAT_UNSPECIFIED: _ClassVar[ImageFormat]
    IMAGE_FORMAT_JPEG: _ClassVar[ImageFormat]
    IMAGE_FORMAT_PNG: _ClassVar[ImageFormat]

class ReferenceMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFERENCE_MODE_UNSPECIFIED: _ClassVar[ReferenceMode]
    REFERENCE_MODE_TOKENS: _ClassVar[ReferenceMode]
    REFERENCE_MODE_IP_ADAPTER: _ClassVar[ReferenceMode]
    REFERENCE_MODE_BOTH: _ClassVar[ReferenceMode]
IMAGE_FORMAT_UNSPECIFIED: ImageFormat
IMAGE_FORMAT_JPEG: ImageFormat
IMAGE_FORMAT_PNG: ImageFormat
REFERENCE_MODE_UNSPECIFIED: ReferenceMode
REFERENCE_MODE_TOKENS: ReferenceMode
REFERENCE_MODE_IP_ADAPTER: ReferenceMode
REFERENCE_MODE_BOTH: ReferenceMode

class ImageParameters(_message.Message):
    __slots__ = ("prompt", "negative_prompt", "seed", "width", "height", "count", "steps", "guidance", "enable_true_cfg", "cfg_scale", "reference_asset_ids", "element_ids", "reference_mode", "enable_ae", "enhance_prompt", "format", "priority")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_FIELD_NUMBER: _ClassVar[int]
    ENABLE_TRUE_CFG_FIELD_NUMBER: _ClassVar[int]
    CFG_SCALE_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_ASSET_IDS_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_IDS_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_MODE_FIELD_NUMBER: _ClassVar[int]
    ENABLE_AE_FIELD_NUMBER: _ClassVar[int]
    ENHANCE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    negative_prompt: str
    seed: int
    width: int
    height: int
    count: int
    steps: int
    guidance: float
    enable_true_cfg: bool
    cfg_scale: float
    reference_asset_ids: _containers.RepeatedScalarFieldContainer[str]
    element_ids: _containers.RepeatedScalarFieldContainer[str]
    reference_mode: ReferenceMode
    enable_ae: bool
    enhance_prompt: bool
    format: ImageFormat
    priority: _common_pb2.Priority
    def __init__(self, prompt: _Optional[str] = ..., negative_prompt: _Optional[str] = ..., seed: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., count: _Optional[int] = ..., steps: _Optional[int] = ..., guidance: _Optional[float] = ..., enable_true_cfg: _Optional[bool] = ..., cfg_scale: _Optional[float] = ..., reference_asset_ids: _Optional[_Iterable[str]] = ..., element_ids: _Optional[_Iterable[str]] = ..., reference_mode: _Optional[_Union[ReferenceMode, str]] = ..., enable_ae: _Optional[bool] = ..., enhance_prompt: _Optional[bool] = ..., format: _Optional[_Union[ImageFormat, str]] = ..., priority: _Optional[_Union[_common_pb2.Priority, str]] = ...) -> None: ...

class GenerateImageRequest(_message.Message):
    __slots__ = ("project_id", "image", "request_id", "previews")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PREVIEWS_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    image: ImageParameters
    request_id: str
    previews: bool
    def __init__(self, project_id: _Optional[str] = ..., image: _Optional[_Union[ImageParameters, _Mapping]] = ..., request_id: _Optional[str] = ..., previews: _Optional[bool] = ...) -> None: ...

class SubmitImageRequest(_message.Message):
    __slots__ = ("project_id", "image", "request_id")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    image: ImageParameters
    request_id: str
    def __init__(self, project_id: _Optional[str] = ..., image: _Optional[_Union[ImageParameters, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitImageResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _jobs_pb2.Job
    def __init__(self, job: _Optional[_Union[_jobs_pb2.Job, _Mapping]] = ...) -> None: ...

class InpaintParameters(_message.Message):
    __slots__ = ("asset_id", "mask_asset_id", "mask_prompt", "mask_text", "prompt", "negative_prompt", "seed", "steps", "guidance", "enable_true_cfg", "cfg_scale", "strength", "feather", "crop_padding", "outpaint", "reference_asset_ids", "format", "priority", "enable_ae")
    ASSET_ID_FIELD_NUMBER: _ClassVar[int]
    MASK_ASSET_ID_FIELD_NUMBER: _ClassVar[int]
    MASK_PROMPT_FIELD_NUMBER: _ClassVar[int]
    MASK_TEXT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_FIELD_NUMBER: _ClassVar[int]
    ENABLE_TRUE_CFG_FIELD_NUMBER: _ClassVar[int]
    CFG_SCALE_FIELD_NUMBER: _ClassVar[int]
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    FEATHER_FIELD_NUMBER: _ClassVar[int]
    CROP_PADDING_FIELD_NUMBER: _ClassVar[int]
    OUTPAINT_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_ASSET_IDS_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    ENABLE_AE_FIELD_NUMBER: _ClassVar[int]
    asset_id: str
    mask_asset_id: str
    mask_prompt: MaskPrompt
    mask_text: str
    prompt: str
    negative_prompt: str
    seed: int
    steps: int
    guidance: float
    enable_true_cfg: bool
    cfg_scale: float
    strength: float
    feather: int
    crop_padding: int
    outpaint: Outpaint
    reference_asset_ids: _containers.RepeatedScalarFieldContainer[str]
    format: ImageFormat
    priority: _common_pb2.Priority
    enable_ae: bool
    def __init__(self, asset_id: _Optional[str] = ..., mask_asset_id: _Optional[str] = ..., mask_prompt: _Optional[_Union[MaskPrompt, _Mapping]] = ..., mask_text: _Optional[str] = ..., prompt: _Optional[str] = ..., negative_prompt: _Optional[str] = ..., seed: _Optional[int] = ..., steps: _Optional[int] = ..., guidance: _Optional[float] = ..., enable_true_cfg: _Optional[bool] = ..., cfg_scale: _Optional[float] = ..., strength: _Optional[float] = ..., feather: _Optional[int] = ..., crop_padding: _Optional[int] = ..., outpaint: _Optional[_Union[Outpaint, _Mapping]] = ..., reference_asset_ids: _Optional[_Iterable[str]] = ..., format: _Optional[_Union[ImageFormat, str]] = ..., priority: _Optional[_Union[_common_pb2.Priority, str]] = ..., enable_ae: _Optional[bool] = ...) -> None: ...

class MaskPrompt(_message.Message):
    __slots__ = ("points", "boxes")
    POINTS_FIELD_NUMBER: _ClassVar[int]
    BOXES_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[_common_pb2.Point]
    boxes: _containers.RepeatedCompositeFieldContainer[_common_pb2.Box]
    def __init__(self, points: _Optional[_Iterable[_Union[_common_pb2.Point, _Mapping]]] = ..., boxes: _Optional[_Iterable[_Union[_common_pb2.Box, _Mapping]]] = ...) -> None: ...

class Outpaint(_message.Message):
    __slots__ = ("left", "top", "right", "bottom")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    BOTTOM_FIELD_NUMBER: _ClassVar[int]
    left: int
    top: int
    right: int
    bottom: int
    def __init__(self, left: _Optional[int] = ..., top: _Optional[int] = ..., right: _Optional[int] = ..., bottom: _Optional[int] = ...) -> None: ...

class InpaintRequest(_message.Message):
    __slots__ = ("project_id", "inpaint", "request_id", "previews")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    INPAINT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PREVIEWS_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    inpaint: InpaintParameters
    request_id: str
    previews: bool
    def __init__(self, project_id: _Optional[str] = ..., inpaint: _Optional[_Union[InpaintParameters, _Mapping]] = ..., request_id: _Optional[str] = ..., previews: _Optional[bool] = ...) -> None: ...

class SubmitInpaintRequest(_message.Message):
    __slots__ = ("project_id", "inpaint", "request_id")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    INPAINT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    inpaint: InpaintParameters
    request_id: str
    def __init__(self, project_id: _Optional[str] = ..., inpaint: _Optional[_Union[InpaintParameters, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitInpaintResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _jobs_pb2.Job
    def __init__(self, job: _Optional[_Union[_jobs_pb2.Job, _Mapping]] = ...) -> None: ...
