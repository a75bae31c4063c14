"""What a safetensors file says of itself: names, shapes, element types, metadata. Only its head is read.

Pure: no torch, so that a request can be checked against a checkpoint before anything is loaded.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from milimo_runtime.errors import ModelMissing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LENGTH: Final = struct.Struct("<Q")
# The format's own limit: a larger head is no head.
_MAX_HEADER_BYTES: Final = 100_000_000


@dataclass(frozen=True, kw_only=True)
class TensorFact:
    """A tensor in a file: its shape, and its element type in the format's words, such as "BF16" or "F8_E4M3"."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Header:
    """The head of a safetensors file: its tensors by name, and its metadata."""

    tensors: Mapping[str, TensorFact]
    metadata: Mapping[str, str]


def read_header(path: Path, *, model: str) -> Header:
    """The head of a file of `model`. Raises `ModelMissing` when it is absent, cut off or something else."""
    if not path.is_file():
        raise _unusable(path, model, "is missing")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_LENGTH.size)
        length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else 0
        if not 0 < length <= min(size, _MAX_HEADER_BYTES):
            raise _unusable(path, model, "is not a whole safetensors file")
        text = file.read(length)
    try:
        value = json.loads(text)
        metadata = value.pop("__metadata__", {})
        end = max((fact["data_offsets"][1] for fact in value.values()), default=0)
        tensors = {name: TensorFact(shape=tuple(fact["shape"]), dtype=fact["dtype"]) for name, fact in value.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unusable(path, model, "is not a whole safetensors file") from error
    if _LENGTH.size + length + end != size:
        raise _unusable(path, model, f"is cut off: {size} bytes of {_LENGTH.size + length + end}")
    return Header(tensors=tensors, metadata=metadata)


def _unusable(path: Path, model: str, what: str) -> ModelMissing:
    return ModelMissing(
        f"the file {path.name} of the model {model} {what}; `milimo models verify` names every such file and how to "
        "get it",
        metadata={"model": model, "file": path.name},
    )
