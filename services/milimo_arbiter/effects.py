"""What the arbiter does. The edge performs a step's effects in order, and sends nothing before it has saved."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from milimo_arbiter.state import Lease, Parking, Peak, ProcessIdentity


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    """The request waits at `position`, 1 is next; it will be served in about `eta_s` seconds, None: not known."""

    position: int
    reason: str
    eta_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Granted:
    """As the first reply: the lease is held. After a `Queued`: it is offered, and held from the first `Renewed`."""

    lease: Lease
    ttl_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Renewed:
    """The answer to the heartbeat with that sequence."""

    sequence: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ReclaimRequested:
    """Bytes are wanted back within `deadline_s` seconds."""

    bytes: int
    deadline_s: float
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Revoked:
    """The lease is lost."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Released:
    """The release was recorded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parked:
    """Bytes of host memory that are the tenant's from now on."""

    bytes: int


Reply = Queued | Granted | Renewed | ReclaimRequested | Revoked | Released | Parked


class Refusal(StrEnum):
    """Why a request is not even queued."""

    FOOTPRINT_TOO_LARGE = "FOOTPRINT_TOO_LARGE"
    DEVICE_UNKNOWN = "DEVICE_UNKNOWN"
    QUEUE_FULL = "QUEUE_FULL"
    RESUME_TOKEN_FOREIGN = "RESUME_TOKEN_FOREIGN"  # noqa: S105
    SECOND_ACQUIRE = "SECOND_ACQUIRE"
    SHRINK_TOO_LARGE = "SHRINK_TOO_LARGE"
    EXTERNAL_UNKNOWN = "EXTERNAL_UNKNOWN"


@dataclass(frozen=True, kw_only=True, slots=True)
class Save:
    """Record the lease and, with it, its fencing token as the last one of its device."""

    lease: Lease


@dataclass(frozen=True, kw_only=True, slots=True)
class Forget:
    """Remove the lease from the record."""

    lease_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SaveParking:
    """Record the host memory that a tenant has for parked weights."""

    parking: Parking


@dataclass(frozen=True, kw_only=True, slots=True)
class ForgetParking:
    """Remove it from the record."""

    parking: Parking


@dataclass(frozen=True, kw_only=True, slots=True)
class Send:
    """Write a reply to a stream; dropped when the stream is gone."""

    stream: int
    reply: Reply


@dataclass(frozen=True, kw_only=True, slots=True)
class Refuse:
    """End a stream with an error."""

    stream: int
    refusal: Refusal
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Close:
    """End a stream in peace. Nothing in the state refers to it any more."""

    stream: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """Tell when this process ends. Repeated for each of its leases."""

    process: ProcessIdentity


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """End this process, if it is still the very one."""

    process: ProcessIdentity


@dataclass(frozen=True, kw_only=True, slots=True)
class Evict:
    """Ask a program that is no tenant to give its memory back."""

    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """A decision and its reason, for the log and for those who look on."""

    at: float
    action: str
    tenant: str
    device: str
    bytes: int
    reason: str
    job_id: str = ""
    fencing_token: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Learn:
    """Record a measured peak in the place of the last one of its kind."""

    peak: Peak


# What is written to the record.
Change = Save | Forget | SaveParking | ForgetParking | Learn
Effect = Change | Send | Refuse | Close | Watch | Kill | Evict | Decided
