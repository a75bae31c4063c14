"""What must hold in the simulated world after each step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo_arbiter import effects

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from milimo_arbiter.effects import Effect
    from milimo_arbiter.simulation.holder import Holder
    from milimo_arbiter.state import Device, Lease, State


class Violation(AssertionError):
    """Something happened that must not. `law` names what was broken, in a word or two."""

    def __init__(self, law: str, text: str) -> None:
        super().__init__(law, text)
        self.law = law
        self.text = text

    def __str__(self) -> str:
        return f"{self.law}: {self.text}"


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
                if after.grace_until is not None:
                    raise Violation("grace", "granted during the grace window")
            case effects.Close(stream=stream):
                if stream in after.waiters or after.lease_on(stream) is not None:
                    raise Violation("streams", f"stream {stream} was closed and is still relied on")
            case _:
                pass
    if before.grace_until is not None and now < before.grace_until and after.grace_until is None:
        away = [one for one in after.leases.values() if one.stream is None and one.quarantine is None]
        if away:
            raise Violation("grace", f"the grace window ended while {away[0].lease_id} was away")


def check_state(before: State, after: State, record: Mapping[str, Lease]) -> None:
    """What may be known after a step, and be on record."""
    if record.keys() != after.leases.keys():
        raise Violation("record", "it differs from the state")
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
    if len(streams) != len(set(streams)) or not after.waiters.keys().isdisjoint(streams):
        raise Violation("streams", "two claims on one stream")
    if len(after.waiters) > after.policy.queue_bound:
        raise Violation("queue", "it is too long")


def check_memory(devices: Iterable[Device], holders: Iterable[Holder]) -> None:
    """The truth: what processes have loaded, and what those that may still use it believe to hold."""
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
