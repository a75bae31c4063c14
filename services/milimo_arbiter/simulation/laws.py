"""What must hold in the simulated world after each step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo_arbiter import effects, events

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from milimo_arbiter.effects import Effect
    from milimo_arbiter.events import Event
    from milimo_arbiter.simulation.holder import Holder
    from milimo_arbiter.state import Device, Lease, Parking, ProcessIdentity, State, Workload


class Violation(AssertionError):
    """Something happened that must not. `law` names what was broken, in a word or two."""

    def __init__(self, law: str, text: str) -> None:
        super().__init__(law, text)
        self.law = law
        self.text = text

    def __str__(self) -> str:
        return f"{self.law}: {self.text}"


def demand(holds: bool, law: str, text: str) -> None:
    """The law holds.

    Raises:
        Violation: otherwise.
    """
    if not holds:
        raise Violation(law, text)


def check_effects(before: State, after: State, done: Iterable[Effect], tokens: Mapping[str, int], now: float) -> None:
    """What one step may do. `tokens` are the last ones on record before it."""
    saved: set[str] = set()
    for effect in done:
        match effect:
            case effects.Save(lease=lease):
                saved.add(lease.lease_id)
                if lease.lease_id not in before.leases and lease.fencing_token <= tokens.get(lease.device, 0):
                    raise Violation("fencing", f"token {lease.fencing_token} of {lease.device} was used before")
            case effects.Send(reply=effects.Granted(lease=lease)):
                if lease.lease_id not in saved and lease.lease_id not in before.leases:
                    raise Violation("record", "a grant was sent before it was saved")
            case effects.Decided(action="granted"):
                for device in after.devices.values():
                    held = sum(lease.bytes for lease in after.leases.values() if lease.device == device.id)
                    held += sum(one.bytes or 0 for one in after.externals.values() if one.device == device.id)
                    if after.externals and held > device.total and device.id == effect.device:
                        raise Violation("strangers' bytes", f"{held} of {device.total} on {device.id} after a grant")
                if after.grace_until is not None:
                    raise Violation("grace", "granted during the grace window")
                if any(one.bytes is None and one.device == effect.device for one in after.externals.values()):
                    raise Violation("strangers' bytes", f"granted while nobody knows what is left of {effect.device}")
            case effects.Close(stream=stream):
                if stream in after.waiters or after.lease_on(stream) is not None:
                    raise Violation("streams", f"stream {stream} was closed and is still relied on")
            case _:
                pass
    if before.grace_until is not None and now < before.grace_until and after.grace_until is None:
        away = [one for one in after.leases.values() if one.stream is None and one.quarantine is None]
        if away:
            raise Violation("grace", f"the grace window ended while {away[0].lease_id} was away")


def check_state(
    before: State,
    after: State,
    record: Mapping[str, Lease],
    parked: Mapping[tuple[str, ProcessIdentity], Parking],
) -> None:
    """What may be known after a step, and be on record."""
    if record.keys() != after.leases.keys() or parked.keys() != after.parked.keys():
        raise Violation("record", "it differs from the state")
    for lease in after.leases.values():
        end, saved = lease.quarantine, record[lease.lease_id].quarantine
        if end is not None and end.kill_at is not None and (saved is None or saved.kill_at != end.kill_at):
            raise Violation("record", f"a restart would forget when to kill the holder of {lease.lease_id}")
    for device in after.devices.values():
        granted = sum(lease.bytes for lease in after.leases.values() if lease.device == device.id)
        if granted > device.budget:
            raise Violation("granted bytes", f"{granted} of {device.budget} on {device.id}")
    for lease in after.leases.values():
        old = before.leases.get(lease.lease_id)
        if old is not None and old.quarantine is not None and lease.quarantine is None:
            raise Violation("expiry", f"{lease.lease_id} was revived")
        if not lease.confirmed and lease.stream is None:
            raise Violation("offers", f"{lease.lease_id} was offered to nobody")
    streams = [lease.stream for lease in after.leases.values() if lease.stream is not None]
    tokens = [lease.resume_token for lease in after.leases.values()]
    tokens += [waiter.request.resume_token for waiter in after.waiters.values()]
    if len(tokens) != len(set(tokens)):
        raise Violation("claims", "one request was granted, or waits, twice")
    if len(streams) != len(set(streams)) or not after.waiters.keys().isdisjoint(streams):
        raise Violation("streams", "two claims on one stream")
    if len(after.waiters) > after.policy.queue_bound:
        raise Violation("queue", "it is too long")


def check_learning(before: State, event: Event, after: State, record: Mapping[tuple[Workload, str], int]) -> None:
    """A peak that is told counts, and what is on record is what the next request for the same counts with."""
    if isinstance(event, events.Idle | events.Busy | events.Release) and event.peak:
        lease = before.lease_on(event.stream)
        heard = lease is not None and (lease.quarantine is None or isinstance(event, events.Release))
        if lease is not None and lease.workload is not None and heard and lease.lease_id in before.leases:
            known = after.peaks.get((lease.workload, lease.footprint), 0)
            earlier = before.peaks.get((lease.workload, lease.footprint), 0)
            if not event.peak <= known <= max(event.peak, earlier):
                raise Violation("learning", f"{lease.tenant} used {event.peak}, {earlier} before: {known} was learned")
    if isinstance(event, events.Acquire) and event.stream not in before.waiters:
        granted = after.lease_on(event.stream)
        if granted is not None and granted.lease_id not in before.leases and granted.workload is not None:
            needed = record.get((granted.workload, granted.footprint), 0)
            if granted.bytes < needed:
                raise Violation("learning", f"{granted.tenant} was granted {granted.bytes}, and needs {needed}")
        waiter = after.waiters.get(event.stream)
        if waiter is not None and waiter.request.workload is not None:
            for footprint in waiter.request.footprints:
                if footprint.bytes < record.get((waiter.request.workload, footprint.name), 0):
                    raise Violation("learning", f"{waiter.request.tenant} waits for {footprint.bytes}, and needs more")


def check_claims(state: State, holders: Iterable[Holder]) -> None:
    """No living process has a lease that it does not know of, so that nobody would ever release it."""
    known = {holder.process: holder.request for holder in holders}
    for lease in state.leases.values():
        if lease.process not in known or (lease.quarantine is not None and lease.quarantine.released):
            continue
        request = known[lease.process]
        if request is None or request.resume_token != lease.resume_token:
            raise Violation("claims", f"{lease.lease_id} is held by {lease.tenant}, which has forgotten it")


def check_memory(devices: Iterable[Device], holders: Iterable[Holder], parking_budget: int) -> None:
    """The truth: what processes have loaded and parked, and what those that may still use it believe to hold."""
    parked = sum(holder.parked for holder in holders)
    if parked > parking_budget:
        raise Violation("parked bytes", f"{parked} of {parking_budget}")
    for device in devices:
        loaded = believed = 0
        for holder in holders:
            if holder.device == device.id:
                loaded += holder.memory
                if holder.may_use_device():
                    believed += holder.bytes
        if loaded > device.budget:
            raise Violation("loaded bytes", f"{loaded} of {device.budget} on {device.id}")
        if believed > device.budget:
            raise Violation("held bytes", f"{believed} of {device.budget} on {device.id}")


class Waits:
    """How long requests wait: none for longer than the bound."""

    def __init__(self, bound_s: float) -> None:
        self._bound_s = bound_s
        self._since: dict[int, float] = {}
        self.longest_s = 0.0

    def check(self, state: State, now: float) -> None:
        """Looks at the queue after a step."""
        for stream in [stream for stream in self._since if stream not in state.waiters]:
            self.longest_s = max(self.longest_s, now - self._since.pop(stream))
        for stream in state.waiters:
            waited = now - self._since.setdefault(stream, now)
            if waited > self._bound_s:
                raise Violation("starvation", f"stream {stream} has waited for {waited:.0f} s")

    def forget(self) -> None:
        """The queue is gone; those who ask again wait anew."""
        self._since.clear()
