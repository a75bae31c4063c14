import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from milimo.v1 import common_pb2 as _common_pb2
from milimo.v1 import jobs_pb2 as _jobs_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ElementType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ELEMENT_TYPE_UNSPECIFIED: _ClassVar[ElementType]
    ELEMENT_TYPE_CHARACTER: _ClassVar[ElementType]
    ELEMENT_TYPE_LOCATION: _ClassVar[ElementType]
    ELEMENT_TYPE_OBJECT: _ClassVar[ElementType]
ELEMENT_TYPE_UNSPECIFIED: ElementType
ELEMENT_TYPE_CHARACTER: ElementType
ELEMENT_TYPE_LOCATION: ElementType
ELEMENT_TYPE_OBJECT: ElementType

class Element(_message.Message):
    __slots__ = ("id", "project_id", "name", "type", "trigger_word", "description", "image_asset_ids", "lora", "created_at", "updated_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_WORD_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ASSET_IDS_FIELD_NUMBER: _ClassVar[int]
    LORA_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    project_id: str
    name: str
    type: ElementType
    trigger_word: str
    description: str
    image_asset_ids: _containers.RepeatedScalarFieldContainer[str]
    lora: _common_pb2.Lora
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., project_id: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[_Union[ElementType, str]] = ..., trigger_word: _Optional[str] = ..., description: _Optional[str] = ..., image_asset_ids: _Optional[_Iterable[str]] = ..., lora: _Optional[_Union[_common_pb2.Lora, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateElementRequest(_message.Message):
    __slots__ = ("project_id", "element", "request_id")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    element: Element
    request_id: str
    def __init__(self, project_id: _Optional[str] = ..., element: _Optional[_Union[Element, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateElementResponse(_message.Message):
    __slots__ = ("element",)
    ELEMENT_FIELD_NUMBER: _ClassVar[int]
    element: Element
    def __init__(self, element: _Optional[_Union[Element, _Mapping]] = ...) -> None: ...

class GetElementRequest(_message.Message):
    __slots__ = ("element_id",)
    ELEMENT_ID_FIELD_NUMBER: _ClassVar[int]
    element_id: str
    def __init__(self, element_id: _Optional[str] = ...) -> None: ...

class GetElementResponse(_message.Message):
    __slots__ = ("element",)
    ELEMENT_FIELD_NUMBER: _ClassVar[int]
    element: Element
    def __init__(self, element: _Optional[_Union[Element, _Mapping]] = ...) -> None: ...

class ListElementsRequest(_message.Message):
    __slots__ = ("project_id", "page_size", "page_token")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    page_size: int
    page_token: str
    def __init__(self, project_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListElementsResponse(_message.Message):
    __slots__ = ("elements", "next_page_token")
    ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    elements: _containers.RepeatedCompositeFieldContainer[Element]
    next_page_token: str
    def __init__(self, elements: _Optional[_Iterable[_Union[Element, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateElementRequest(_message.Message):
    __slots__ = ("element", "update_mask", "request_id")
    ELEMENT_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    element: Element
    update_mask: _field_mask_pb2.FieldMask
    request_id: str
    def __init__(self, element: _Optional[_Union[Element, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class UpdateElementResponse(_message.Message):
    __slots__ = ("element",)
    ELEMENT_FIELD_NUMBER: _ClassVar[int]
    element: Element
    def __init__(self, element: _Optional[_Union[Element, _Mapping]] = ...) -> None: ...

class DeleteElementRequest(_message.Message):
    __slots__ = ("element_id",)
    ELEMENT_ID_FIELD_NUMBER: _ClassVar[int]
    element_id: str
    def __init__(self, element_id: _Optional[str] = ...) -> None: ...

class DeleteElementResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GenerateElementVisualRequest(_message.Message):
    __slots__ = ("element_id", "seed", "request_id", "previews")
    ELEMENT_ID_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PREVIEWS_FIELD_NUMBER: _ClassVar[int]
    element_id: str
    seed: int
    request_id: str
    previews: bool
    def __init__(self, element_id: _Optional[str] = ..., seed: _Optional[int] = ..., request_id: _Optional[str] = ..., previews: _Optional[bool] = ...) -> None: ...

class SubmitElementVisualRequest(_message.Message):
    __slots__ = ("element_id", "seed", "request_id")
    ELEMENT_ID_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    element_id: str
    seed: int
    request_id: str
    def __init__(self, element_id: _Optional[str] = ..., seed: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitElementVisualResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _jobs_pb2.Job
    def __init__(self, job: _Optional[_Union[_jobs_pb2.Job, _Mapping]] = ...) -> None: ...
