"""Drives the core through random schedules in which everything goes wrong, and checks what must hold after each step.

The world is simulated with the arbiter in it: processes that load weights chunk by chunk, stop, die and come back,
streams that deliver late or break, an arbiter that is killed before or after it has saved, a driver whose readings are
old when they arrive. Time and chance come from the seed alone, so that a failure can be repeated.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from milimo_arbiter import core, effects, events
from milimo_arbiter.plan import next_change
from milimo_arbiter.simulated_holder import Holder
from milimo_arbiter.state import Device, Policy, ProcessIdentity, Sample, State, restored

if TYPE_CHECKING:
    from collections.abc import Callable

    from milimo_arbiter.effects import Effect, Reply
    from milimo_arbiter.events import Event
    from milimo_arbiter.state import Lease

    Step = Callable[[State, Event, float], tuple[State, tuple[Effect, ...]]]

POLICY: Final = Policy(
    ttl_s=12.0,
    grace_s=15.0,
    queue_bound=6,
    ageing_s=20.0,
    batch_turns=2,
    batch_s=10.0,
    idle_deadline_s=4.0,
    busy_deadline_s=20.0,
    context_bytes=0,
)
BUDGET: Final = 100
HOLDERS: Final = 5
# Longest stop of a process and longest absence of the arbiter, in seconds.
LONGEST_PAUSE_S: Final = 40.0
LONGEST_ABSENCE_S: Final = 20.0


class Violation(AssertionError):
    """Something happened that must not."""


@dataclass(kw_only=True)
class Report:
    """What a run has seen."""

    steps: int = 0
    grants: int = 0
    expired: int = 0
    revoked: int = 0
    resumed: int = 0
    restarts: int = 0
    deaths: int = 0
    taken_back: int = 0
    longest_wait_s: float = 0.0
    seconds: float = 0.0
    actions: set[str] = field(default_factory=set)


@dataclass
class _Wire:
    """One stream: what travels stays in order; once cut, nothing arrives."""

    number: int
    holder: Holder
    up: float = 0.0
    down: float = 0.0
    cut: bool = False


class World:
    """The host: its memory, its processes, its arbiter."""

    def __init__(self, seed: int, step: Step = core.step) -> None:
        self.random = random.Random(seed)  # noqa: S311
        self.step = step
        self.now = 0.0
        self.report = Report()
        driver = seed % 2 == 1
        # In a calm world disasters are rare and the arbiter lives on: there a starving request shows.
        self._calm = seed % 4 in (0, 1)
        devices = [Device(id="a:0", name="", total=BUDGET + 10, reserve=10, driver=driver)]
        if seed % 3 == 0:
            devices.append(Device(id="a:1", name="", total=BUDGET // 2, reserve=0, driver=driver))
        self.devices = {device.id: device for device in devices}
        # None while the arbiter is down.
        self.state: State | None = State(policy=POLICY, devices=self.devices)
        self.disk: dict[str, Lease] = {}
        self.tokens: dict[str, int] = {}
        self.waiting_since: dict[int, float] = {}
        self._wires: dict[int, _Wire] = {}
        self._streams = 0
        self._pids = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._scheduled = 0
        self._next_tick = 0.0
        self.holders = [
            Holder(self, tenant=f"t{index}", process=self.new_process(), greedy=index == 0) for index in range(HOLDERS)
        ]
        for holder in self.holders:
            self.after(self.random.uniform(0, 5), holder.live)
        for device in devices:
            if driver:
                self.after(0.1, partial(self._measure, device.id))
        self._plan_disasters()

    # What the holders use.

    def new_process(self) -> ProcessIdentity:
        """A process that never was before."""
        self._pids += 1
        return ProcessIdentity(pid=self._pids, start_ticks=self._pids, pid_namespace=1)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Does something later."""
        self._scheduled += 1
        heapq.heappush(self._heap, (self.now + seconds, self._scheduled, action))

    def open(self, holder: Holder, first: Callable[[int], Event]) -> int:
        """Opens a stream with a first message, and returns its number."""
        self._streams += 1
        wire = _Wire(number=self._streams, holder=holder)
        self._wires[wire.number] = wire
        if self.state is None:
            self.after(self._delay(), lambda: self._broken(wire))
        else:
            self.tell(wire.number, first(wire.number))
        return wire.number

    def tell(self, stream: int, event: Event) -> None:
        """Sends to the arbiter."""
        wire = self._wires.get(stream)
        if wire is None or wire.cut:
            return
        wire.up = max(wire.up, self.now + self._delay())
        self.after(wire.up - self.now, lambda: None if wire.cut else self.happen(event))

    def cut(self, stream: int) -> None:
        """Breaks a stream; each end notices in its own time."""
        wire = self._wires.get(stream)
        if wire is not None and not wire.cut:
            wire.cut = True
            self.after(self._delay(), lambda: self.happen(events.StreamEnded(stream=stream)))
            self.after(self._delay(), lambda: self._broken(wire))

    def _broken(self, wire: _Wire) -> None:
        wire.cut = True
        wire.holder.stream_broke(wire.number)

    def _delay(self) -> float:
        late = self.random.random() < (0.02 if self._calm else 0.08)
        return self.random.uniform(0.1, 4.0) if late else self.random.uniform(0.001, 0.01)

    # The arbiter.

    def happen(self, event: Event) -> None:
        """An event reaches the arbiter, if it is there."""
        if self.state is None:
            return
        before = self.state
        self.state, done = self.step(before, event, self.now)
        if not self._calm and self.random.random() < 0.0005:
            # Killed before it could save: nobody has heard of this step.
            self.state = before
            self._kill_arbiter()
            return
        self._check_order(before, done)
        for effect in done:
            if isinstance(effect, effects.Save):
                self.disk[effect.lease.lease_id] = effect.lease
                last = self.tokens.get(effect.lease.device, 0)
                self.tokens[effect.lease.device] = max(last, effect.lease.fencing_token)
            elif isinstance(effect, effects.Forget):
                del self.disk[effect.lease_id]
        if not self._calm and self.random.random() < 0.0005:
            # Killed between saving and sending.
            self._kill_arbiter()
            return
        for effect in done:
            self._perform(effect)
        due = next_change(self.state, self.now)
        if due is not None and not self.now < self._next_tick <= due:
            self._next_tick = due
            self.after(due - self.now, lambda: self.happen(events.Tick()))
        self._check_state(before)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case effects.Send():
                self._deliver(effect.stream, effect.reply)
            case effects.Close() | effects.Refuse():
                wire = self._wires.get(effect.stream)
                if wire is not None:
                    wire.down = max(wire.down, self.now + self._delay())
                    self.after(wire.down - self.now, lambda: self._closed(wire))
            case effects.Decided():
                self.report.actions.add(effect.action)
                self.report.grants += effect.action == "granted"
                self.report.expired += effect.action == "expired"
                self.report.revoked += effect.action == "revoked"
                self.report.resumed += effect.action == "resumed"
                self.report.taken_back += effect.action == "taken_back"
            case _:
                pass

    def _deliver(self, stream: int, reply: Reply) -> None:
        wire = self._wires.get(stream)
        if wire is None or wire.cut:
            return
        wire.down = max(wire.down, self.now + self._delay())
        self.after(wire.down - self.now, lambda: None if wire.cut else wire.holder.hear(wire.number, reply))

    def _closed(self, wire: _Wire) -> None:
        if not wire.cut:
            wire.cut = True
            wire.holder.stream_ended(wire.number)
            self.after(self._delay(), lambda: self.happen(events.StreamEnded(stream=wire.number)))

    def _kill_arbiter(self) -> None:
        self.state = None
        self.waiting_since.clear()
        self.report.restarts += 1
        for wire in list(self._wires.values()):
            if not wire.cut:
                wire.cut = True
                self.after(self._delay(), partial(self._broken, wire))
        self._wires.clear()
        self.after(self.random.uniform(0.1, LONGEST_ABSENCE_S), self._start_arbiter)

    def _start_arbiter(self) -> None:
        self.state = restored(POLICY, self.devices, dict(self.disk), dict(self.tokens), self.now)
        alive = {holder.process for holder in self.holders}
        for lease in list(self.disk.values()):
            if lease.process is not None and lease.process not in alive:
                self.happen(events.ProcessGone(process=lease.process))

    def _measure(self, device_id: str) -> None:
        """The driver is read now, and the reading arrives later."""
        used = {
            holder.process: holder.memory for holder in self.holders if holder.memory and holder.device == device_id
        }
        strangers = self.random.choice([0, 0, 3, 8]) if self.devices[device_id].reserve else 0
        sample = Sample(at=self.now, used=sum(used.values()) + strangers, by_process=used)
        self.after(self._delay(), lambda: self.happen(events.Sampled(device=device_id, sample=sample)))
        self.after(self.random.uniform(0.05, 1.0), lambda: self._measure(device_id))

    # Disasters.

    def _plan_disasters(self) -> None:
        self.after(self.random.expovariate(1 / (60 if self._calm else 7)), self._disaster)

    def _disaster(self) -> None:
        holder = self.random.choice(self.holders)
        match self.random.choices(["stop", "die", "cut", "kill", "operator"], weights=[4, 4, 5, 1, 3])[0]:
            case "stop":
                holder.stop(self.random.uniform(0.5, LONGEST_PAUSE_S))
            case "die":
                gone = holder.process
                self.report.deaths += 1
                holder.die(self.new_process())
                self.after(self._delay(), lambda: self.happen(events.ProcessGone(process=gone)))
            case "cut":
                if holder.stream is not None and not (self._calm and holder.bytes == 0):
                    self.cut(holder.stream)
            case "kill":
                if self.state is not None and not self._calm:
                    self._kill_arbiter()
            case _:
                leases = list(self.state.leases.values()) if self.state is not None else []
                if leases and self.random.random() < 0.7:
                    # The youngest may not have loaded anything yet.
                    lease = max(leases, key=lambda one: one.granted_at)
                    self.happen(events.Revoke(lease_id=lease.lease_id, reason="operator"))
                else:
                    self.happen(events.ReclaimIdle(device=None, bytes=0))
        self._plan_disasters()

    # What must hold.

    def _check_order(self, before: State, done: tuple[Effect, ...]) -> None:
        saved: set[str] = set()
        for effect in done:
            if isinstance(effect, effects.Save):
                lease = effect.lease
                saved.add(lease.lease_id)
                known = lease.lease_id in before.leases
                if not known and lease.fencing_token <= self.tokens.get(lease.device, 0):
                    raise Violation(f"token {lease.fencing_token} of {lease.device} was used before")
            if (
                isinstance(effect, effects.Send)
                and isinstance(effect.reply, effects.Granted)
                and effect.reply.lease.lease_id not in saved | set(before.leases)
            ):
                raise Violation("a grant was sent before it was saved")
            if (
                isinstance(effect, effects.Decided)
                and effect.action == "granted"
                and self.state is not None
                and self.state.grace_until is not None
            ):
                raise Violation("granted during the grace window")
        if before.grace_until is not None and self.now < before.grace_until and self.state is not None:
            away = [one for one in self.state.leases.values() if one.stream is None and one.quarantine is None]
            if self.state.grace_until is None and away:
                raise Violation(f"the grace window ended while {away[0].lease_id} was away")

    def _check_state(self, before: State) -> None:
        state = self.state
        assert state is not None
        if set(self.disk) != set(state.leases):
            raise Violation("the record differs from the state")
        for device in self.devices.values():
            granted = sum(lease.bytes for lease in state.leases.values() if lease.device == device.id)
            if granted > device.budget:
                raise Violation(f"{granted} of {device.budget} granted on {device.id}")
        for lease in state.leases.values():
            old = before.leases.get(lease.lease_id)
            if old is not None and old.quarantine is not None and lease.quarantine is None:
                raise Violation(f"{lease.lease_id} was revived")
            if not lease.confirmed and lease.stream is None:
                raise Violation(f"{lease.lease_id} was offered to nobody")
        streams = [lease.stream for lease in state.leases.values() if lease.stream is not None]
        if len(streams) != len(set(streams)) or set(streams) & set(state.waiters):
            raise Violation("two claims on one stream")
        if len(state.waiters) > state.policy.queue_bound:
            raise Violation("the queue is too long")
        self._check_waits(state)

    def _check_waits(self, state: State) -> None:
        for stream in list(self.waiting_since):
            if stream not in state.waiters:
                waited = self.now - self.waiting_since.pop(stream)
                self.report.longest_wait_s = max(self.report.longest_wait_s, waited)
        for stream in state.waiters:
            waited = self.now - self.waiting_since.setdefault(stream, self.now)
            if waited > LONGEST_WAIT_S:
                raise Violation(f"stream {stream} has waited for {waited:.0f} s")

    def check_memory(self) -> None:
        """The truth: what processes have loaded, and what those that may still use it believe to hold."""
        for device in self.devices.values():
            loaded = sum(holder.memory for holder in self.holders if holder.device == device.id)
            if loaded > device.budget:
                raise Violation(f"{loaded} of {device.budget} loaded on {device.id}")
            believed = sum(
                holder.bytes for holder in self.holders if holder.device == device.id and holder.may_use_device()
            )
            if believed > device.budget:
                raise Violation(f"{believed} of {device.budget} in use on {device.id}")

    def run(self, steps: int) -> Report:
        """Lets that many things happen.

        Raises:
            Violation: at the first that must not.
        """
        for _ in range(steps):
            self.now, _, action = heapq.heappop(self._heap)
            action()
            self.check_memory()
        self.report.steps, self.report.seconds = steps, self.now
        return self.report


# Everybody ahead may hold until its batch, its deadline and its stop are over.
LONGEST_WAIT_S: Final = (
    HOLDERS * (POLICY.batch_s + POLICY.busy_deadline_s + POLICY.idle_deadline_s + POLICY.ttl_s + LONGEST_PAUSE_S)
    + 2 * POLICY.ageing_s
    + LONGEST_ABSENCE_S
    + POLICY.grace_s
)


def simulate(seed: int, steps: int, step: Step = core.step) -> Report:
    """Runs one world.

    Args:
        seed: chooses the world and everything in it.
        steps: how many things happen.
        step: the core under test.

    Raises:
        Violation: when something happened that must not; the text names it and the seed repeats it.
    """
    try:
        return World(seed, step).run(steps)
    except Violation as violation:
        raise Violation(f"seed {seed}: {violation}") from violation
