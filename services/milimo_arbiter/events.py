"""What can happen to the arbiter. A stream is one call of `Lease`, numbered by the edge and never used twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from milimo_arbiter.state import ProcessIdentity, Request, Sample, Workload


@dataclass(frozen=True, kw_only=True, slots=True)
class Acquire:
    """A new stream asks for a lease."""

    stream: int
    request: Request


@dataclass(frozen=True, kw_only=True, slots=True)
class Resume:
    """A new stream takes an earlier lease up again."""

    stream: int
    tenant: str
    resume_token: str
    process: ProcessIdentity | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """The holder lives. `used` is None when it was not measured; `sequence` comes back in the answer."""

    stream: int
    sequence: int
    used: int | None
    # Bytes of host memory that hold parked weights.
    parked: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shrink:
    """The holder has freed a part of its bytes."""

    stream: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Idle:
    """The turn is over, the weights stay. `peak` are the most bytes that it was measured to use; 0: nobody measured."""

    stream: int
    peak: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Busy:
    """A job's turn begins, or the number of jobs behind it changed. `peak` is that of the turn before."""

    stream: int
    job_id: str
    waiting_jobs: int
    peak: int = 0
    workload: Workload | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """The holder has freed everything. `peak` is that of its last turn."""

    stream: int
    peak: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Park:
    """The holder wants host memory for all the weights that it keeps there; 0 bytes: none any more."""

    stream: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamEnded:
    """The stream is gone, for whatever reason."""

    stream: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessGone:
    """The process has ended, and its memory with it."""

    process: ProcessIdentity


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """The driver of a device was read."""

    device: str
    sample: Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class ExternalSeen:
    """A program that is no tenant was looked at. `bytes` is None when what it holds was never known."""

    name: str
    device: str
    bytes: int | None
    busy: bool = False
    problem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Revoke:
    """An operator takes a lease away."""

    lease_id: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ReclaimIdle:
    """An operator wants `bytes` free on a device (None: on every one); 0 bytes: everything that is idle."""

    device: str | None
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """Time has passed."""


Message = Heartbeat | Shrink | Idle | Busy | Release | Park
Event = Acquire | Resume | Message | StreamEnded | ProcessGone | Sampled | ExternalSeen | Revoke | ReclaimIdle | Tick
