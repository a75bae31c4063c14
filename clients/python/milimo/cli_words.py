"""Words that options take, and the contract's values behind them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from milimo.v1 import assets_pb2, common_pb2, elements_pb2, image_pb2, jobs_pb2, storyboard_pb2


class PriorityWord(StrEnum):
    """Order among waiting jobs."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class StateWord(StrEnum):
    """States of a job."""

    QUEUED = "queued"
    WAITING_FOR_LEASE = "waiting_for_lease"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AssetKindWord(StrEnum):
    """Kinds of media."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    MASK = "mask"


class ElementTypeWord(StrEnum):
    """What an element is."""

    CHARACTER = "character"
    LOCATION = "location"
    OBJECT = "object"


class ScriptModeWord(StrEnum):
    """How a script is read."""

    AUTO = "auto"
    SCREENPLAY = "screenplay"
    NUMBERED = "numbered"
    FREEFORM = "freeform"


class ReferenceModeWord(StrEnum):
    """How references act."""

    AUTO = "auto"
    TOKENS = "tokens"
    IP_ADAPTER = "ip-adapter"
    BOTH = "both"


def reference_mode_of(word: ReferenceModeWord) -> image_pb2.ReferenceMode.ValueType:
    """The contract's value; auto is its default."""
    from milimo.v1 import image_pb2

    name = "UNSPECIFIED" if word is ReferenceModeWord.AUTO else word.name
    return image_pb2.ReferenceMode.Value(f"REFERENCE_MODE_{name}")


def priority_of(word: PriorityWord) -> common_pb2.Priority.ValueType:
    """The contract's value."""
    from milimo.v1 import common_pb2

    return common_pb2.Priority.Value(f"PRIORITY_{word.name}")


def element_type_of(word: ElementTypeWord | None) -> elements_pb2.ElementType.ValueType:
    """The contract's value; unspecified without a word."""
    from milimo.v1 import elements_pb2

    return elements_pb2.ElementType.Value(f"ELEMENT_TYPE_{'UNSPECIFIED' if word is None else word.name}")


def state_of(word: StateWord) -> jobs_pb2.JobState.ValueType:
    """The contract's value."""
    from milimo.v1 import jobs_pb2

    return jobs_pb2.JobState.Value(f"JOB_STATE_{word.name}")


def asset_kind_of(word: AssetKindWord | None) -> assets_pb2.AssetKind.ValueType:
    """The contract's value; None is any kind."""
    from milimo.v1 import assets_pb2

    return assets_pb2.AssetKind.Value(f"ASSET_KIND_{word.name if word else 'UNSPECIFIED'}")


def script_mode_of(word: ScriptModeWord) -> storyboard_pb2.ScriptMode.ValueType:
    """The contract's value."""
    from milimo.v1 import storyboard_pb2

    return storyboard_pb2.ScriptMode.Value(f"SCRIPT_MODE_{word.name}")
