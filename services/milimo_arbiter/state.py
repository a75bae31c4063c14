"""What the arbiter knows: devices, leases, and the requests that wait.

All values are frozen. Times are seconds on a monotonic clock that the caller reads; the module reads none.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Priority(IntEnum):
    """Order among those who wait; the numbers are the contract's."""

    LOW = 1
    NORMAL = 2
    HIGH = 3


class Phase(StrEnum):
    """What a lease's readers see of it."""

    IDLE = "idle"
    BUSY = "busy"
    RECLAIMING = "reclaiming"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """The numbers behind the rules. Times are seconds."""

    # A lease that was not renewed for this long is lost.
    ttl_s: float = 12.0
    # After a restart nothing is granted for this long, unless every holder has come back or is gone. At least the TTL.
    grace_s: float = 15.0
    # Requests that may wait.
    queue_bound: int = 512
    # Waiting this long is worth one class of priority.
    ageing_s: float = 60.0
    # Turns that a tenant may begin in a row while somebody waits for its memory, and the time that they may take.
    batch_turns: int = 4
    batch_s: float = 30.0
    # Time to give memory back: idle, and busy.
    idle_deadline_s: float = 10.0
    busy_deadline_s: float = 120.0
    # How long released memory may take to show as free before the queue stops counting on it.
    settle_s: float = 5.0
    # What one grade less than the best costs, compared with seconds of bringing evicted weights back.
    downgrade_s: float = 30.0
    # What waiting for a busy holder costs, on the same scale.
    busy_wait_s: float = 60.0
    # Reload speed of weights whose load was never timed.
    reload_bytes_per_s: float = 2e9
    # What a process keeps on a device after it freed everything: contexts and kernels.
    context_bytes: int = 768 << 20
    # Speed at which parked weights come back to a device.
    bus_bytes_per_s: float = 2e10
    # What is granted beyond a measured peak, as a part of it.
    peak_margin: float = 0.05
    # When a holder that let its deadline pass is killed, seconds after it lost the lease; None: never.
    kill_after_s: float | None = None
    # How long a program that is no tenant may take to give its memory back before it is asked again.
    external_deadline_s: float = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessIdentity:
    """One process beyond the reuse of process ids: pid, start in clock ticks since boot, inode of its pid namespace."""

    pid: int
    start_ticks: int
    pid_namespace: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """One grade of running a model: its peak bytes, where it can run (empty: anywhere), how long its load takes."""

    name: str
    bytes: int
    # Ids such as "cuda:0", and kinds such as "cuda", which stand for all devices of that kind.
    devices: tuple[str, ...] = ()
    # 0: never timed.
    load_seconds: float = 0.0

    def places(self, devices: Iterable[str]) -> tuple[str, ...]:
        """Those of the devices on which the grade can run."""
        return tuple(
            device
            for device in devices
            if not self.devices or device in self.devices or device.partition(":")[0] in self.devices
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """What a turn computes, as far as its peak depends on it. Nothing is learned of an empty model."""

    model: str
    width: int = 0
    height: int = 0
    frames: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Peak:
    """The most bytes that a workload was measured to use in that footprint."""

    workload: Workload
    footprint: str
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a tenant asks for. `footprints` is in order of preference."""

    tenant: str
    footprints: tuple[Footprint, ...]
    priority: Priority = Priority.NORMAL
    min_hold_s: float = 0.0
    job_id: str = ""
    process: ProcessIdentity | None = None
    # A secret, the caller's own where it repeats its requests; becomes the lease's resume token.
    resume_token: str = ""
    workload: Workload | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One reading of a device's driver, begun at `at`.

    `by_process` is None when the driver does not say who uses what.
    """

    at: float
    used: int
    by_process: Mapping[ProcessIdentity, int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One memory. `driver` says whether somebody else than the holders measures it."""

    id: str
    name: str
    total: int
    reserve: int
    driver: bool = False
    sample: Sample | None = None

    @property
    def budget(self) -> int:
        """Bytes that may be granted."""
        return self.total - self.reserve


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """A job's turn on a lease. The id is empty while a restored holder has not told it yet."""

    job_id: str
    waiting_jobs: int = 0
    # When it began; None where that was before the arbiter did.
    since: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reclaim:
    """A holder was asked for memory."""

    bytes: int
    asked_at: float
    deadline: float
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Quarantine:
    """The lease is over, its memory is not known to be free."""

    since: float
    reason: str
    # The holder said that it freed the memory: it is on its way back. Otherwise the holder is lost.
    released: bool
    # When its process will be killed, if it may be and has not released by then.
    kill_at: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """Bytes on a device that belong to one tenant and its weights."""

    lease_id: str
    tenant: str
    device: str
    footprint: str
    bytes: int
    load_seconds: float
    fencing_token: int
    resume_token: str
    process: ProcessIdentity | None
    min_hold_s: float
    granted_at: float
    expires_at: float
    last_used: float
    # The stream that the holder is on; None while it is away and may still resume.
    stream: int | None
    # The holder is known to have the grant: only then may it touch the device.
    confirmed: bool
    # None: idle.
    turn: Turn | None
    # The holder's last report; a heartbeat without one keeps it.
    used: int | None = None
    # What the present turn computes, or the last one did; None when it was not told.
    workload: Workload | None = None
    reclaim: Reclaim | None = None
    # Since when somebody waits for a batch of turns on this lease to end, and the turns begun since.
    wanted_since: float | None = None
    turns: int = 0
    quarantine: Quarantine | None = None

    @property
    def phase(self) -> Phase:
        """The state as readers see it."""
        if self.quarantine is not None:
            return Phase.QUARANTINED
        if self.reclaim is not None:
            return Phase.RECLAIMING
        return Phase.IDLE if self.turn is None else Phase.BUSY


@dataclass(frozen=True, kw_only=True, slots=True)
class Parking:
    """Host memory in which a tenant of a process keeps weights that are on no device. Outlives its leases."""

    tenant: str
    process: ProcessIdentity
    bytes: int = 0
    # What the process reports.
    used: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class External:
    """A program that is no tenant, and gives its memory back when it is asked."""

    name: str
    device: str
    # None: never known.
    bytes: int | None
    busy: bool = False
    problem: str = ""
    asked_at: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiter:
    """A request in the queue, and what its stream was told last: `told_time` is when it will probably be served."""

    stream: int
    request: Request
    since: float
    arrival: int
    told_position: int = 0
    told_reason: str = ""
    told_time: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """Everything that a decision depends on, besides the event and the time."""

    policy: Policy
    devices: Mapping[str, Device]
    leases: Mapping[str, Lease] = field(default_factory=lambda: MappingProxyType({}))
    # By stream.
    waiters: Mapping[int, Waiter] = field(default_factory=lambda: MappingProxyType({}))
    # The last fencing token of each device.
    tokens: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    grace_until: float | None = None
    arrivals: int = 0
    # Host memory that is lent for parked weights, and to whom.
    parking_budget: int = 0
    parked: Mapping[tuple[str, ProcessIdentity], Parking] = field(default_factory=lambda: MappingProxyType({}))
    externals: Mapping[str, External] = field(default_factory=lambda: MappingProxyType({}))
    # Measured peaks by workload and footprint, the latest last.
    peaks: Mapping[tuple[Workload, str], int] = field(default_factory=lambda: MappingProxyType({}))
    # Mean lengths of turns in seconds, by tenant and workload, and by tenant alone; the latest last.
    lengths: Mapping[tuple[str, Workload | None], float] = field(default_factory=lambda: MappingProxyType({}))

    def with_lease(self, lease: Lease) -> State:
        """The state in which `lease` is as given."""
        return replace(self, leases={**self.leases, lease.lease_id: lease})

    def without_lease(self, lease_id: str) -> State:
        """The state without that lease."""
        return replace(self, leases={key: lease for key, lease in self.leases.items() if key != lease_id})

    def with_waiter(self, waiter: Waiter) -> State:
        """The state in which `waiter` is as given."""
        return replace(self, waiters={**self.waiters, waiter.stream: waiter})

    def without_waiter(self, stream: int) -> State:
        """The state without the request of that stream."""
        return replace(self, waiters={key: waiter for key, waiter in self.waiters.items() if key != stream})

    def lease_on(self, stream: int) -> Lease | None:
        """The lease whose holder is on that stream."""
        return next((lease for lease in self.leases.values() if lease.stream == stream), None)


def restored(
    policy: Policy,
    devices: Mapping[str, Device],
    leases: Mapping[str, Lease],
    tokens: Mapping[str, int],
    now: float,
    *,
    parked: Mapping[tuple[str, ProcessIdentity], Parking] = MappingProxyType({}),
    parking_budget: int = 0,
    peaks: Mapping[tuple[Workload, str], int] = MappingProxyType({}),
) -> State:
    """The state of an arbiter that starts at `now` with what an earlier one left.

    Every lease counts as held and its holder as away: it may resume until the grace window ends.
    """
    grace_until = now + policy.grace_s if any(lease.quarantine is None for lease in leases.values()) else None
    away = {
        key: replace(
            lease,
            stream=None,
            confirmed=True,
            expires_at=now + policy.grace_s,
            last_used=now,
            turn=Turn(job_id=""),
            reclaim=None,
            wanted_since=None,
            turns=0,
        )
        for key, lease in leases.items()
    }
    return State(
        policy=policy,
        devices=devices,
        leases=away,
        tokens=tokens,
        grace_until=grace_until,
        parked=parked,
        parking_budget=parking_budget,
        peaks=peaks,
    )
