"""What those who wait have heard, and whether they are served as soon as they can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from milimo_arbiter import effects
from milimo_arbiter.forecast import is_noticeable
from milimo_arbiter.simulation.laws import demand
from milimo_arbiter.state import Priority

if TYPE_CHECKING:
    from collections.abc import Iterable

    from milimo_arbiter.effects import Effect
    from milimo_arbiter.state import ProcessIdentity, State, Waiter


class _Heard(NamedTuple):
    position: int
    reason: str
    time: float | None


class Told:
    """What each waiter heard last."""

    def __init__(self) -> None:
        self._heard: dict[int, _Heard] = {}

    def check(self, state: State, done: Iterable[Effect], now: float) -> None:
        """Every waiter knows its place and why it waits, and hears nothing twice."""
        for effect in done:
            if isinstance(effect, effects.Send) and isinstance(effect.reply, effects.Queued):
                told = effect.reply
                demand(told.eta_s is None or told.eta_s >= 0, "telling", f"stream {effect.stream} waits {told.eta_s} s")
                time = None if told.eta_s is None else now + told.eta_s
                before = self._heard.get(effect.stream)
                again = before is not None and before[:2] == (told.position, told.reason)
                news = not again or before is None or is_noticeable(before.time, time, now)
                demand(news, "telling", f"stream {effect.stream} hears what it knew")
                self._heard[effect.stream] = _Heard(told.position, told.reason, time)
        queue = sorted(state.waiters.values(), key=lambda one: (_due(one, state.policy.ageing_s), one.arrival))
        self._heard = {one.stream: self._heard[one.stream] for one in queue if one.stream in self._heard}
        for position, waiter in enumerate(queue, start=1):
            heard = self._heard.get(waiter.stream)
            place = heard is not None and heard.position == position
            demand(place, "telling", f"stream {waiter.stream} has place {position} and heard {heard}")
            why = heard is not None and bool(heard.reason) and (position > 1 or "ahead" not in heard.reason)
            demand(why, "telling", f"stream {waiter.stream} does not know why it waits: {heard}")
        if queue and state.grace_until is None:
            _check_head(state, queue[0])

    def forget(self) -> None:
        """The arbiter is gone, and its queue with it."""
        self._heard.clear()


def _due(waiter: Waiter, ageing_s: float) -> float:
    return waiter.since + (Priority.HIGH - waiter.request.priority) * ageing_s


def _check_head(state: State, waiter: Waiter) -> None:
    """The first in the queue does not wait for memory that nobody has, or that its own process has left there."""
    best, process = waiter.request.footprints[0], waiter.request.process
    for device in best.places(state.devices):
        here, sample = state.devices[device], state.devices[device].sample
        unclear = any(one.device == device for one in state.externals.values())
        if unclear or best.bytes > here.budget or (sample is not None and sample.by_process is None):
            continue
        leases = [lease for lease in state.leases.values() if lease.device == device]
        used_by = {} if sample is None else dict(sample.by_process or {})
        granted: dict[ProcessIdentity | None, int] = {}
        for lease in leases:
            own = lease.quarantine is not None and lease.quarantine.released
            if not own or (lease.tenant, lease.process) != (waiter.request.tenant, process):
                granted[lease.process] = granted.get(lease.process, 0) + lease.bytes
        taken = sum(
            size if sample is not None and one == process else max(size, 0 if one is None else used_by.get(one, 0))
            for one, size in granted.items()
        )
        if sample is None:
            taken = sum(max(lease.bytes, lease.used or 0) for lease in leases)
        known = {process, *(lease.process for lease in leases)}
        strangers = 0 if sample is None else sample.used - sum(used_by.get(one, 0) for one in known if one is not None)
        free = min(here.budget, here.total - strangers) - taken
        demand(best.bytes > free, "idle memory", f"stream {waiter.stream} waits for {best.bytes}, {free} are free")
