"""Milimo for programs: `Milimo` and its asyncio twin `AsyncMilimo`. Messages are in `milimo.v1`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from milimo.aio import AsyncMilimo as AsyncMilimo
    from milimo.client import Milimo as Milimo
    from milimo.cursor import Patience as Patience
    from milimo.cursor import has_ended as has_ended
    from milimo.endpoint import DEFAULT_ADDRESS as DEFAULT_ADDRESS
    from milimo.errors import FieldViolation as FieldViolation
    from milimo.errors import MilimoError as MilimoError
    from milimo.errors import from_status as from_status
    from milimo.watch import AsyncJobWatch as AsyncJobWatch
    from milimo.watch import JobWatch as JobWatch

_HOMES: Final = {
    "AsyncMilimo": "milimo.aio",
    "Milimo": "milimo.client",
    "Patience": "milimo.cursor",
    "has_ended": "milimo.cursor",
    "DEFAULT_ADDRESS": "milimo.endpoint",
    "FieldViolation": "milimo.errors",
    "MilimoError": "milimo.errors",
    "from_status": "milimo.errors",
    "AsyncJobWatch": "milimo.watch",
    "JobWatch": "milimo.watch",
}
__all__ = [
    "DEFAULT_ADDRESS",
    "AsyncJobWatch",
    "AsyncMilimo",
    "FieldViolation",
    "JobWatch",
    "Milimo",
    "MilimoError",
    "Patience",
    "from_status",
    "has_ended",
]


def __getattr__(name: str) -> Any:
    # On first use: the command's --help and the services, which need only `milimo.v1`, start without gRPC's import.
    if name not in _HOMES:
        raise AttributeError(f"module 'milimo' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value
