from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from milimo.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MaskFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MASK_FORMAT_UNSPECIFIED: _ClassVar[MaskFormat]
    MASK_FORMAT_PNG: _ClassVar[MaskFormat]
    MASK_FORMAT_RLE: _ClassVar[MaskFormat]

class TrackingDirection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRACKING_DIRECTION_UNSPECIFIED: _ClassVar[TrackingDirection]
    TRACKING_DIRECTION_FORWARD: _ClassVar[TrackingDirection]
    TRACKING_DIRECTION_BACKWARD: _ClassVar[TrackingDirection]
    TRACKING_DIRECTION_BOTH: _ClassVar[TrackingDirection]

class TrackingExportFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRACKING_EXPORT_FORMAT_UNSPECIFIED: _ClassVar[TrackingExportFormat]
    TRACKING_EXPORT_FORMAT_COCO: _ClassVar[TrackingExportFormat]
    TRACKING_EXPORT_FORMAT_VIDEO: _ClassVar[TrackingExportFormat]

class MaskOperation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MASK_OPERATION_UNSPECIFIED: _ClassVar[MaskOperation]
    MASK_OPERATION_UNION: _ClassVar[MaskOperation]
    MASK_OPERATION_INTERSECTION: _ClassVar[MaskOperation]
    MASK_OPERATION_SUBTRACTION: _ClassVar[MaskOperation]
    MASK_OPERATION_INVERSION: _ClassVar[MaskOperation]
    MASK_OPERATION_DILATION: _ClassVar[MaskOperation]
    MASK_OPERATION_EROSION: _ClassVar[MaskOperation]
    MASK_OPERATION_SMOOTHING: _ClassVar[MaskOperation]
MASK_FORMAT_UNSPECIFIED: MaskFormat
MASK_FORMAT_PNG: MaskFormat
MASK_FORMAT_RLE: MaskFormat
TRACKING_DIRECTION_UNSPECIFIED: TrackingDirection
TRACKING_DIRECTION_FORWARD: TrackingDirection
TRACKING_DIRECTION_BACKWARD: TrackingDirection
TRACKING_DIRECTION_BOTH: TrackingDirection
TRACKING_EXPORT_FORMAT_UNSPECIFIED: TrackingExportFormat
TRACKING_EXPORT_FORMAT_COCO: TrackingExportFormat
TRACKING_EXPORT_FORMAT_VIDEO: TrackingExportFormat
MASK_OPERATION_UNSPECIFIED: MaskOperation
MASK_OPERATION_UNION: MaskOperation
MASK_OPERATION_INTERSECTION: MaskOperation
MASK_OPERATION_SUBTRACTION: MaskOperation
MASK_OPERATION_INVERSION: MaskOperation
MASK_OPERATION_DILATION: MaskOperation
MASK_OPERATION_EROSION: MaskOperation
MASK_OPERATION_SMOOTHING: MaskOperation

class RunLengths(_message.Message):
    __slots__ = ("width", "height", "counts")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., counts: _Optional[_Iterable[int]] = ...) -> None: ...

class Mask(_message.Message):
    __slots__ = ("png", "rle", "score", "box", "area", "label", "object_id")
    PNG_FIELD_NUMBER: _ClassVar[int]
    RLE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    AREA_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    OBJECT_ID_FIELD_NUMBER: _ClassVar[int]
    png: bytes
    rle: RunLengths
    score: float
    box: _common_pb2.Box
    area: int
    label: str
    object_id: int
    def __init__(self, png: _Optional[bytes] = ..., rle: _Optional[_Union[RunLengths, _Mapping]] = ..., score: _Optional[float] = ..., box: _Optional[_Union[_common_pb2.Box, _Mapping]] = ..., area: _Optional[int] = ..., label: _Optional[str] = ..., object_id: _Optional[int] = ...) -> None: ...

class PredictMaskRequest(_message.Message):
    __slots__ = ("image", "points", "boxes", "multimask", "mask_format")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    BOXES_FIELD_NUMBER: _ClassVar[int]
    MULTIMASK_FIELD_NUMBER: _ClassVar[int]
    MASK_FORMAT_FIELD_NUMBER: _ClassVar[int]
    image: _common_pb2.ImageSource
    points: _containers.RepeatedCompositeFieldContainer[_common_pb2.Point]
    boxes: _containers.RepeatedCompositeFieldContainer[_common_pb2.Box]
    multimask: bool
    mask_format: MaskFormat
    def __init__(self, image: _Optional[_Union[_common_pb2.ImageSource, _Mapping]] = ..., points: _Optional[_Iterable[_Union[_common_pb2.Point, _Mapping]]] = ..., boxes: _Optional[_Iterable[_Union[_common_pb2.Box, _Mapping]]] = ..., multimask: _Optional[bool] = ..., mask_format: _Optional[_Union[MaskFormat, str]] = ...) -> None: ...

class PredictMaskResponse(_message.Message):
    __slots__ = ("masks", "width", "height")
    MASKS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    masks: _containers.RepeatedCompositeFieldContainer[Mask]
    width: int
    height: int
    def __init__(self, masks: _Optional[_Iterable[_Union[Mask, _Mapping]]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class DetectRequest(_message.Message):
    __slots__ = ("image", "text", "exemplars", "confidence", "mask_format")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    EXEMPLARS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    MASK_FORMAT_FIELD_NUMBER: _ClassVar[int]
    image: _common_pb2.ImageSource
    text: str
    exemplars: _containers.RepeatedCompositeFieldContainer[_common_pb2.Box]
    confidence: float
    mask_format: MaskFormat
    def __init__(self, image: _Optional[_Union[_common_pb2.ImageSource, _Mapping]] = ..., text: _Optional[str] = ..., exemplars: _Optional[_Iterable[_Union[_common_pb2.Box, _Mapping]]] = ..., confidence: _Optional[float] = ..., mask_format: _Optional[_Union[MaskFormat, str]] = ...) -> None: ...

class DetectResponse(_message.Message):
    __slots__ = ("objects", "width", "height")
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedCompositeFieldContainer[Mask]
    width: int
    height: int
    def __init__(self, objects: _Optional[_Iterable[_Union[Mask, _Mapping]]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class SegmentTextRequest(_message.Message):
    __slots__ = ("image", "text", "confidence", "mask_format")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    MASK_FORMAT_FIELD_NUMBER: _ClassVar[int]
    image: _common_pb2.ImageSource
    text: str
    confidence: float
    mask_format: MaskFormat
    def __init__(self, image: _Optional[_Union[_common_pb2.ImageSource, _Mapping]] = ..., text: _Optional[str] = ..., confidence: _Optional[float] = ..., mask_format: _Optional[_Union[MaskFormat, str]] = ...) -> None: ...

class SegmentTextResponse(_message.Message):
    __slots__ = ("merged", "instances", "width", "height")
    MERGED_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    merged: Mask
    instances: _containers.RepeatedCompositeFieldContainer[Mask]
    width: int
    height: int
    def __init__(self, merged: _Optional[_Union[Mask, _Mapping]] = ..., instances: _Optional[_Iterable[_Union[Mask, _Mapping]]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class StartTrackingRequest(_message.Message):
    __slots__ = ("asset_id",)
    ASSET_ID_FIELD_NUMBER: _ClassVar[int]
    asset_id: str
    def __init__(self, asset_id: _Optional[str] = ...) -> None: ...

class StartTrackingResponse(_message.Message):
    __slots__ = ("session_id", "num_frames", "width", "height")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    NUM_FRAMES_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    num_frames: int
    width: int
    height: int
    def __init__(self, session_id: _Optional[str] = ..., num_frames: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class PromptTrackingRequest(_message.Message):
    __slots__ = ("session_id", "frame_index", "text", "points", "boxes", "object_id", "mask_format")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    FRAME_INDEX_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    BOXES_FIELD_NUMBER: _ClassVar[int]
    OBJECT_ID_FIELD_NUMBER: _ClassVar[int]
    MASK_FORMAT_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    frame_index: int
    text: str
    points: _containers.RepeatedCompositeFieldContainer[_common_pb2.Point]
    boxes: _containers.RepeatedCompositeFieldContainer[_common_pb2.Box]
    object_id: int
    mask_format: MaskFormat
    def __init__(self, session_id: _Optional[str] = ..., frame_index: _Optional[int] = ..., text: _Optional[str] = ..., points: _Optional[_Iterable[_Union[_common_pb2.Point, _Mapping]]] = ..., boxes: _Optional[_Iterable[_Union[_common_pb2.Box, _Mapping]]] = ..., object_id: _Optional[int] = ..., mask_format: _Optional[_Union[MaskFormat, str]] = ...) -> None: ...

class PromptTrackingResponse(_message.Message):
    __slots__ = ("objects",)
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedCompositeFieldContainer[Mask]
    def __init__(self, objects: _Optional[_Iterable[_Union[Mask, _Mapping]]] = ...) -> None: ...

class PropagateTrackingRequest(_message.Message):
    __slots__ = ("session_id", "direction", "start_frame", "max_frames", "mask_format")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    START_FRAME_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAMES_FIELD_NUMBER: _ClassVar[int]
    MASK_FORMAT_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    direction: TrackingDirection
    start_frame: int
    max_frames: int
    mask_format: MaskFormat
    def __init__(self, session_id: _Optional[str] = ..., direction: _Optional[_Union[TrackingDirection, str]] = ..., start_frame: _Optional[int] = ..., max_frames: _Optional[int] = ..., mask_format: _Optional[_Union[MaskFormat, str]] = ...) -> None: ...

class PropagateTrackingResponse(_message.Message):
    __slots__ = ("frame_index", "objects", "fraction")
    FRAME_INDEX_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    frame_index: int
    objects: _containers.RepeatedCompositeFieldContainer[Mask]
    fraction: float
    def __init__(self, frame_index: _Optional[int] = ..., objects: _Optional[_Iterable[_Union[Mask, _Mapping]]] = ..., fraction: _Optional[float] = ...) -> None: ...

class StopTrackingRequest(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    def __init__(self, session_id: _Optional[str] = ...) -> None: ...

class StopTrackingResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RemoveTrackedObjectRequest(_message.Message):
    __slots__ = ("session_id", "object_id")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    OBJECT_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    object_id: int
    def __init__(self, session_id: _Optional[str] = ..., object_id: _Optional[int] = ...) -> None: ...

class RemoveTrackedObjectResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ExportTrackingRequest(_message.Message):
    __slots__ = ("session_id", "format")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    format: TrackingExportFormat
    def __init__(self, session_id: _Optional[str] = ..., format: _Optional[_Union[TrackingExportFormat, str]] = ...) -> None: ...

class ExportTrackingResponse(_message.Message):
    __slots__ = ("asset_id",)
    ASSET_ID_FIELD_NUMBER: _ClassVar[int]
    asset_id: str
    def __init__(self, asset_id: _Optional[str] = ...) -> None: ...

class EditMaskRequest(_message.Message):
    __slots__ = ("masks", "operation", "pixels", "mask_format")
    MASKS_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    MASK_FORMAT_FIELD_NUMBER: _ClassVar[int]
    masks: _containers.RepeatedCompositeFieldContainer[_common_pb2.ImageSource]
    operation: MaskOperation
    pixels: int
    mask_format: MaskFormat
    def __init__(self, masks: _Optional[_Iterable[_Union[_common_pb2.ImageSource, _Mapping]]] = ..., operation: _Optional[_Union[MaskOperation, str]] = ..., pixels: _Optional[int] = ..., mask_format: _Optional[_Union[MaskFormat, str]] = ...) -> None: ...

class EditMaskResponse(_message.Message):
    __slots__ = ("mask",)
    MASK_FIELD_NUMBER: _ClassVar[int]
    mask: Mask
    def __init__(self, mask: _Optional[_Union[Mask, _Mapping]] = ...) -> None: ...
