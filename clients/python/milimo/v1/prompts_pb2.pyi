from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from milimo.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LlmProvider(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LLM_PROVIDER_UNSPECIFIED: _ClassVar[LlmProvider]
    LLM_PROVIDER_NONE: _ClassVar[LlmProvider]
    LLM_PROVIDER_GEMMA: _ClassVar[LlmProvider]
    LLM_PROVIDER_OLLAMA: _ClassVar[LlmProvider]

class PromptPurpose(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROMPT_PURPOSE_UNSPECIFIED: _ClassVar[PromptPurpose]
    PROMPT_PURPOSE_VIDEO: _ClassVar[PromptPurpose]
    PROMPT_PURPOSE_IMAGE: _ClassVar[PromptPurpose]
LLM_PROVIDER_UNSPECIFIED: LlmProvider
LLM_PROVIDER_NONE: LlmProvider
LLM_PROVIDER_GEMMA: LlmProvider
LLM_PROVIDER_OLLAMA: LlmProvider
PROMPT_PURPOSE_UNSPECIFIED: PromptPurpose
PROMPT_PURPOSE_VIDEO: PromptPurpose
PROMPT_PURPOSE_IMAGE: PromptPurpose

class LlmSettings(_message.Message):
    __slots__ = ("provider", "ollama_base_url", "ollama_model", "keep_alive")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    OLLAMA_BASE_URL_FIELD_NUMBER: _ClassVar[int]
    OLLAMA_MODEL_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIVE_FIELD_NUMBER: _ClassVar[int]
    provider: LlmProvider
    ollama_base_url: str
    ollama_model: str
    keep_alive: str
    def __init__(self, provider: _Optional[_Union[LlmProvider, str]] = ..., ollama_base_url: _Optional[str] = ..., ollama_model: _Optional[str] = ..., keep_alive: _Optional[str] = ...) -> None: ...

class LlmModel(_message.Message):
    __slots__ = ("name", "bytes", "is_vision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    IS_VISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    bytes: int
    is_vision: bool
    def __init__(self, name: _Optional[str] = ..., bytes: _Optional[int] = ..., is_vision: _Optional[bool] = ...) -> None: ...

class EnhancePromptRequest(_message.Message):
    __slots__ = ("prompt", "purpose", "image", "seed")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    purpose: PromptPurpose
    image: _common_pb2.ImageSource
    seed: int
    def __init__(self, prompt: _Optional[str] = ..., purpose: _Optional[_Union[PromptPurpose, str]] = ..., image: _Optional[_Union[_common_pb2.ImageSource, _Mapping]] = ..., seed: _Optional[int] = ...) -> None: ...

class EnhancePromptResponse(_message.Message):
    __slots__ = ("prompt", "provider", "fallback_reason")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_REASON_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    provider: LlmProvider
    fallback_reason: str
    def __init__(self, prompt: _Optional[str] = ..., provider: _Optional[_Union[LlmProvider, str]] = ..., fallback_reason: _Optional[str] = ...) -> None: ...

class GetLlmSettingsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetLlmSettingsResponse(_message.Message):
    __slots__ = ("settings",)
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    settings: LlmSettings
    def __init__(self, settings: _Optional[_Union[LlmSettings, _Mapping]] = ...) -> None: ...

class UpdateLlmSettingsRequest(_message.Message):
    __slots__ = ("settings", "update_mask", "request_id")
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    settings: LlmSettings
    update_mask: _field_mask_pb2.FieldMask
    request_id: str
    def __init__(self, settings: _Optional[_Union[LlmSettings, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class UpdateLlmSettingsResponse(_message.Message):
    __slots__ = ("settings",)
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    settings: LlmSettings
    def __init__(self, settings: _Optional[_Union[LlmSettings, _Mapping]] = ...) -> None: ...

class ListLlmModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListLlmModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[LlmModel]
    def __init__(self, models: _Optional[_Iterable[_Union[LlmModel, _Mapping]]] = ...) -> None: ...
