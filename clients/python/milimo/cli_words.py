"""Words that options take, and the contract's values behind them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from milimo.v1 import assets_pb2, common_pb2, jobs_pb2, storyboard_pb2


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


class ScriptModeWord(StrEnum):
    """How a script is read."""

    AUTO = "auto"
    SCREENPLAY = "screenplay"
    NUMBERED = "numbered"
    FREEFORM = "freeform"


def priority_of(word: PriorityWord) -> common_pb2.Priority.ValueType:
    """The contract's value."""
    from milimo.v1 import common_pb2

    return common_pb2.Priority.Value(f"PRIORITY_{word.name}")


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
