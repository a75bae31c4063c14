"""What a tenant and the arbiter agree on, in the worker's own types. Knows no gRPC."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Priority(IntEnum):
    """Order among those who wait; the numbers are the contract's."""

    LOW = 1
    NORMAL = 2
    HIGH = 3


class LeaseLost(Exception):
    """The lease is no longer held: stop using the device, drop the weights, then release."""


@dataclass(frozen=True, kw_only=True)
class Grade:
    """One way to run the model, and what it takes.

    `bytes` is its peak on the device; `devices` where it can run (empty: anywhere); `load_seconds` what an earlier load
    took, 0 when none was timed.
    """

    name: str
    bytes: int
    devices: tuple[str, ...] = ()
    load_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What a turn computes, as far as its peak memory depends on it; 0 where a size does not matter."""

    model: str
    width: int = 0
    height: int = 0
    frames: int = 0


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a tenant asks for; `grades` in order of preference, `workload` what the first turn computes."""

    tenant: str
    grades: tuple[Grade, ...]
    priority: Priority = Priority.NORMAL
    min_hold_s: float = 0.0
    job_id: str = ""
    workload: Workload | None = None


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What was granted: a device such as "cuda:0", a grade by name, a token that rises with each grant there.

    `best_grade` is the one that the tenant would have liked best.
    """

    lease_id: str
    device: str
    bytes: int
    grade: str
    best_grade: str
    fencing_token: int


@dataclass(frozen=True, kw_only=True)
class QueuePlace:
    """A place in a queue (1 is next, 0 is unknown), what is waited for, and for how long, where that is known."""

    position: int
    reason: str
    eta_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class ReclaimWish:
    """The arbiter wants bytes back; `deadline` is a time of the holder's monotonic clock."""

    bytes: int
    deadline: float
    reason: str
