"""What can happen to the arbiter. A stream is one call of `Lease`, numbered by the edge and never used twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from milimo_arbiter.state import ProcessIdentity, Request, Sample


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Shrink:
    """The holder has freed a part of its bytes."""

    stream: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Idle:
    """The turn is over, the weights stay."""

    stream: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Busy:
    """A job's turn begins, or the number of jobs behind it changed."""

    stream: int
    job_id: str
    waiting_jobs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """The holder has freed everything."""

    stream: int


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


Message = Heartbeat | Shrink | Idle | Busy | Release
Event = Acquire | Resume | Message | StreamEnded | ProcessGone | Sampled | Revoke | ReclaimIdle | Tick
