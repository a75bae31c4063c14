"""Who occupies a device: grants, measurements and strangers, each byte counted once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from milimo_arbiter.state import External, Lease, ProcessIdentity, State, Waiter


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """The bytes of one device."""

    budget: int
    # Of leases that are held.
    granted: int
    # Of leases that are over, and not measured free.
    quarantined: int
    # Of processes that are no tenants.
    external: int
    # In use, as measured; None when nobody measured.
    measured: int | None
    # What could be granted now.
    free: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Occupancy:
    occupied: int
    external: int
    measured: int | None


def _occupancy(state: State, device_id: str, claim: Waiter | None = None) -> _Occupancy:
    """Adds up what is taken on a device; what `claim` would take over from itself is left out."""
    sample = state.devices[device_id].sample
    programs = sum(one.bytes or 0 for one in state.externals.values() if one.device == device_id)
    leases = [lease for lease in state.leases.values() if lease.device == device_id]
    kept = [lease for lease in leases if claim is None or not is_succeeded_by(lease, claim)]
    if sample is None:
        reports = [lease.used for lease in leases if lease.used is not None]
        return _Occupancy(
            occupied=sum(max(lease.bytes, lease.used or 0) for lease in kept),
            external=programs,
            measured=sum(reports) if reports or not leases else None,
        )
    if sample.by_process is None:
        # What a holder has not reported yet looks like a stranger's: too little is free for a moment, never too much.
        return _Occupancy(
            occupied=sum(max(lease.bytes, lease.used or 0) for lease in kept),
            # What a program says is part of what the driver sees, as soon as it does.
            external=max(programs, sample.used - sum(lease.used or 0 for lease in leases)),
            measured=sample.used,
        )
    granted_by: dict[ProcessIdentity | None, int] = {}
    for lease in kept:
        granted_by[lease.process] = granted_by.get(lease.process, 0) + lease.bytes
    tenants = {lease.process for lease in leases}
    claimant = None if claim is None else claim.request.process
    used_by = {
        process: size for process, size in sample.by_process.items() if process in tenants or process == claimant
    }
    occupied = sum(
        # The claimant's use is part of what it will be granted.
        size if process is None or process == claimant else max(size, used_by.get(process, 0))
        for process, size in granted_by.items()
    )
    external = max(programs, sample.used - sum(used_by.values()))
    return _Occupancy(occupied=occupied, external=external, measured=sample.used)


def is_succeeded_by(lease: Lease, claim: Waiter) -> bool:
    """Whether a grant to `claim` takes the place of `lease`: released by the same tenant of the same process.

    What that process has not given back to the driver is its own to use again, so it does not count against it.
    """
    return (
        lease.quarantine is not None
        and lease.quarantine.released
        and lease.tenant == claim.request.tenant
        and lease.process is not None
        and lease.process == claim.request.process
    )


def room(state: State, device_id: str, claim: Waiter) -> int:
    """The largest grant that the device has room for now, for that request. May be negative."""
    return _left(state, device_id, _occupancy(state, device_id, claim))


def _left(state: State, device_id: str, sums: _Occupancy) -> int:
    """What grants may still take of the budget, and of the memory itself: strangers use the reserve first."""
    device = state.devices[device_id]
    return min(device.budget, device.total - sums.external) - sums.occupied


def is_unknown(state: State, device_id: str) -> bool:
    """Whether a program holds memory of the device of which nobody knows how much."""
    return any(one.bytes is None for one in state.externals.values() if one.device == device_id)


def gain(state: State, external: External) -> int:
    """Bytes that could be granted if the program gave back what it holds: the reserve is not among them."""
    device, sums = state.devices[external.device], _occupancy(state, external.device)
    without = sums.external - (external.bytes or 0)
    return min(device.budget, device.total - without) - min(device.budget, device.total - sums.external)


def parking_room(state: State, key: tuple[str, ProcessIdentity] | None = None) -> int:
    """Bytes of host memory that a tenant of a process may have for parked weights, all together. May be negative."""
    others = (one for other, one in state.parked.items() if other != key)
    return state.parking_budget - sum(max(one.bytes, one.used or 0) for one in others)


def reload_seconds(state: State, lease: Lease) -> float:
    """What bringing the weights back would cost: one copy where they would be parked, else a load as it was measured.

    A load that was never timed counts with the usual speed. A tenant would park that did so before, if there is room.
    """
    cold = lease.load_seconds or lease.bytes / state.policy.reload_bytes_per_s
    key = None if lease.process is None else (lease.tenant, lease.process)
    if key is None or key not in state.parked or parking_room(state, key) < lease.bytes:
        return cold
    return min(cold, lease.bytes / state.policy.bus_bytes_per_s)


def ledger(state: State, device_id: str) -> Ledger:
    """Adds a device up.

    A holder occupies what it was granted, or what it is measured to use where that is more: never the sum, since the
    use is part of the grant. What the driver sees beyond the holders belongs to strangers. Hence no byte counts
    twice, a grant counts before its holder has loaded anything, and free never passes what the driver has left.
    """
    device = state.devices[device_id]
    leases = [lease for lease in state.leases.values() if lease.device == device_id]
    sums = _occupancy(state, device_id)
    return Ledger(
        budget=device.budget,
        granted=sum(lease.bytes for lease in leases if lease.quarantine is None),
        quarantined=sum(lease.bytes for lease in leases if lease.quarantine is not None),
        external=sums.external,
        measured=sums.measured,
        free=max(0, _left(state, device_id, sums)),
    )


def measured_use(state: State, lease: Lease) -> int | None:
    """Bytes that the lease's holder uses: the driver's word where it has one and means this lease alone."""
    sample = state.devices[lease.device].sample
    if sample is not None and sample.by_process is not None and lease.process is not None:
        same = sum(
            1 for other in state.leases.values() if other.device == lease.device and other.process == lease.process
        )
        if same == 1:
            return sample.by_process.get(lease.process, 0)
    return lease.used


def still_there(state: State, lease: Lease) -> int | None:
    """Bytes of a quarantined lease that its device's latest sample still shows; None while the sample cannot tell.

    A sample tells only when it was begun after the lease ended: an older one may have been taken before the weights
    were even loaded. Whoever has not released may not have heard that the lease was revoked, and load on until its TTL
    ends: until then a sample tells nothing either.
    """
    sample = state.devices[lease.device].sample
    quarantine = lease.quarantine
    if sample is None or quarantine is None or sample.at <= quarantine.since:
        return None
    if not quarantine.released and sample.at <= lease.expires_at:
        return None
    if sample.by_process is None or lease.process is None:
        # Nobody says whose it is. After a release what is left shows as a stranger's, so nothing is lost from sight;
        # a lost holder may yet allocate.
        return 0 if quarantine.released else None
    held = sum(
        other.bytes
        for other in state.leases.values()
        if other.device == lease.device and other.process == lease.process and other.lease_id != lease.lease_id
    )
    left = sample.by_process.get(lease.process, 0) - held
    return 0 if left <= state.policy.context_bytes else min(left, lease.bytes)
