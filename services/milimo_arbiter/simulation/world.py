"""Drives the core through random schedules in which everything goes wrong, and checks what must hold after each step.

The world is simulated with the arbiter in it: processes that load weights chunk by chunk, stop, die and come back,
streams that deliver late or break, an arbiter that is killed before or after it has saved, a driver whose readings are
old when they arrive. Time and chance come from the seed alone, so that a failure can be repeated.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from milimo_arbiter import core, effects, events
from milimo_arbiter.effects import Refusal
from milimo_arbiter.plan import next_change
from milimo_arbiter.simulation.answers import check_answer
from milimo_arbiter.simulation.disasters import Disasters
from milimo_arbiter.simulation.fate import Fate
from milimo_arbiter.simulation.holder import Holder
from milimo_arbiter.simulation.laws import (
    Violation,
    Waits,
    check_claims,
    check_effects,
    check_learning,
    check_memory,
    check_state,
)
from milimo_arbiter.simulation.program import Program
from milimo_arbiter.simulation.report import Report
from milimo_arbiter.simulation.terms import (
    BUDGET,
    HOLDERS,
    LONGEST_ABSENCE_S,
    LONGEST_WAIT_S,
    PARKING_BUDGET,
    policy_of,
)
from milimo_arbiter.simulation.told import Told
from milimo_arbiter.simulation.words import step_in_words
from milimo_arbiter.state import Device, Parking, ProcessIdentity, Sample, State, restored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from milimo_arbiter.effects import Effect, Reply
    from milimo_arbiter.events import Event
    from milimo_arbiter.state import Lease, Workload

    Step = Callable[[State, Event, float], tuple[State, tuple[Effect, ...]]]
    # Hears of what happens: when, and what, in words.
    Chronicle = Callable[[float, str], None]


@dataclass
class _Wire:
    """One stream: what travels stays in order; once cut, nothing arrives."""

    number: int
    holder: Holder
    up: float = 0.0
    down: float = 0.0
    cut: bool = False
    # The edge reads no more from a stream that was refused.
    refused: bool = False


class World:
    """The host: its memory, its processes, its arbiter."""

    def __init__(self, seed: int, step: Step = core.step, *, fate: Fate, chronicle: Chronicle | None = None) -> None:
        self.fate = fate
        self.step = step
        self.now = 0.0
        self.report = Report()
        self.policy = policy_of(seed)
        self._chronicle = chronicle
        driver = seed % 2 == 1
        # In a calm world disasters are rare and the arbiter lives on: there a starving request shows.
        self._calm = seed % 4 in (0, 1)
        self._late = 0.02 if self._calm else 0.08
        devices = [Device(id="a:0", name="", total=BUDGET + 10, reserve=10, driver=driver)]
        if seed % 3 == 0:
            devices.append(Device(id="a:1", name="", total=BUDGET // 2, reserve=0, driver=driver))
        self.devices: Mapping[str, Device] = {device.id: device for device in devices}
        # None while the arbiter is down.
        self.state: State | None = State(policy=self.policy, devices=self.devices, parking_budget=PARKING_BUDGET)
        self.disk: dict[str, Lease] = {}
        self.parked: dict[tuple[str, ProcessIdentity], Parking] = {}
        self.tokens: dict[str, int] = {}
        self.waits = Waits(LONGEST_WAIT_S)
        self.told = Told()
        self.peaks: dict[tuple[Workload, str], int] = {}
        self._wires: dict[int, _Wire] = {}
        self._streams = 0
        self._pids = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._scheduled = 0
        self._next_tick = 0.0
        self._network = fate.random("network")
        self._drivers = fate.random("drivers")
        self._absences = fate.random("absences")
        self._everybody = [
            Holder(self, tenant=f"t{index}", process=self.new_process(), greedy=index == 0) for index in range(HOLDERS)
        ]
        self.holders = [holder for holder in self._everybody if fate.strikes("holder")]
        for holder in self.holders:
            self.after(holder.chance.uniform(0, 5), holder.live)
        for device in devices:
            if driver:
                self.after(0.1, partial(self._measure, device.id))
        # In every third of the worlds, in calm ones and others.
        self.programs = (
            [Program("a:0", fate=fate, after=self.after, happen=self.happen)]
            if seed % 3 == 1 and fate.strikes("program")
            else []
        )
        Disasters(self, self._everybody, calm=self._calm)

    def chronicle(self, text: str) -> None:
        """Something that matters happened."""
        if self._chronicle is not None:
            self._chronicle(self.now, text)

    # What the holders use.

    def new_process(self) -> ProcessIdentity:
        """A process that never was before."""
        self._pids += 1
        return ProcessIdentity(pid=self._pids, start_ticks=self._pids, pid_namespace=1)

    def new_stream(self) -> int:
        """The number of a stream that never was before."""
        self._streams += 1
        return self._streams

    def end(self, holder: Holder) -> None:
        """A process is killed, and started again by its supervisor."""
        gone = holder.process
        self.chronicle(f"{holder.tenant} dies with {holder.memory} bytes loaded, and is started again")
        self.report.deaths += 1
        holder.die(self.new_process())
        self.after(self._delay(), lambda: self.happen(events.ProcessGone(process=gone)))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Does something later."""
        self._scheduled += 1
        heapq.heappush(self._heap, (self.now + seconds, self._scheduled, action))

    def open(self, holder: Holder, first: Callable[[int], Event]) -> int:
        """Opens a stream with a first message, and returns its number."""
        wire = _Wire(number=self.new_stream(), holder=holder)
        self._wires[wire.number] = wire
        if self.state is None:
            wire.cut = True
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
        self.after(wire.up - self.now, lambda: None if wire.cut or wire.refused else self.happen(event))

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
        quick = 0.001 + 0.009 * self._network.random()
        if not self.fate.strikes("late message", self._late):
            return quick
        # As late as it is quick otherwise.
        return 0.1 + (quick - 0.001) / 0.009 * 3.9

    # The arbiter.

    def happen(self, event: Event) -> None:
        """An event reaches the arbiter, if it is there."""
        if self.state is None:
            return
        before = self.state
        self.state, done = self.step(before, event, self.now)
        if self._chronicle is not None and (text := step_in_words(event, done)):
            self.chronicle(text)
        if not self._calm and self.fate.strikes("crash before saving", 0.0005):
            # Nobody has heard of this step.
            self.kill_arbiter("before it could save")
            return
        check_effects(before, self.state, done, self.tokens, self.now)
        check_learning(before, event, self.state, self.peaks)
        check_answer(before, event, self.state, done, self.now)
        for effect in done:
            if isinstance(effect, effects.Save):
                self.disk[effect.lease.lease_id] = effect.lease
                last = self.tokens.get(effect.lease.device, 0)
                self.tokens[effect.lease.device] = max(last, effect.lease.fencing_token)
            elif isinstance(effect, effects.Forget):
                del self.disk[effect.lease_id]
            elif isinstance(effect, effects.Learn):
                self.peaks[effect.peak.workload, effect.peak.footprint] = effect.peak.bytes
            elif isinstance(effect, effects.SaveParking):
                self.parked[effect.parking.tenant, effect.parking.process] = effect.parking
            elif isinstance(effect, effects.ForgetParking):
                del self.parked[effect.parking.tenant, effect.parking.process]
        if not self._calm and self.fate.strikes("crash before sending", 0.0005):
            self.kill_arbiter("after it has saved, before it could send")
            return
        for effect in done:
            self._perform(effect)
        due = next_change(self.state, self.now)
        if due is not None and not self.now < self._next_tick <= due:
            self._next_tick = due
            self.after(due - self.now, lambda: self.happen(events.Tick()))
        check_state(before, self.state, self.disk, self.parked)
        check_claims(self.state, self.holders)
        self.waits.check(self.state, self.now)
        self.told.check(self.state, done, self.now)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case effects.Send():
                self._deliver(effect.stream, effect.reply)
            case effects.Close() | effects.Refuse():
                wire = self._wires.get(effect.stream)
                if wire is not None:
                    wire.refused = isinstance(effect, effects.Refuse)
                    wire.down = max(wire.down, self.now + self._delay())
                    # A stream that was closed is over; of one that was refused the arbiter wants to hear the end.
                    refusal = effect.refusal if isinstance(effect, effects.Refuse) else None
                    self.after(wire.down - self.now, lambda: self._closed(wire, refusal))
            case effects.Decided():
                self.report.count(effect)
            case effects.Kill(process=process):
                for holder in self.holders:
                    if holder.process == process:
                        self.end(holder)
            case effects.Evict():
                for program in self.programs:
                    program.evict()
            case _:
                pass

    def _deliver(self, stream: int, reply: Reply) -> None:
        wire = self._wires.get(stream)
        if wire is None or wire.cut:
            return
        wire.down = max(wire.down, self.now + self._delay())
        self.after(wire.down - self.now, lambda: None if wire.cut else wire.holder.hear(wire.number, reply))

    def _closed(self, wire: _Wire, refusal: Refusal | None) -> None:
        if not wire.cut:
            wire.cut = True
            if refusal in (Refusal.SECOND_ACQUIRE, Refusal.SHRINK_TOO_LARGE):
                # Its claim stands: it comes back.
                wire.holder.stream_broke(wire.number)
            else:
                wire.holder.stream_ended(wire.number)
            if refusal is not None:
                self.after(self._delay(), lambda: self.happen(events.StreamEnded(stream=wire.number)))

    def kill_arbiter(self, when: str) -> None:
        """The arbiter dies, if it is there, and comes back later."""
        if self.state is None:
            return
        self.chronicle(f"the arbiter is killed {when}")
        self.state = None
        self.waits.forget()
        self.told.forget()
        self.report.restarts += 1
        for wire in list(self._wires.values()):
            if not wire.cut:
                wire.cut = True
                self.after(self._delay(), partial(self._broken, wire))
        self._wires.clear()
        self.after(self._absences.uniform(0.1, LONGEST_ABSENCE_S), self._start_arbiter)

    def _start_arbiter(self) -> None:
        self.chronicle("the arbiter starts again")
        self.state = restored(
            self.policy,
            self.devices,
            dict(self.disk),
            dict(self.tokens),
            self.now,
            parked=dict(self.parked),
            parking_budget=PARKING_BUDGET,
            peaks=dict(self.peaks),
        )
        self.state = replace(self.state, externals={one.name: one.seen() for one in self.programs})
        alive = {holder.process for holder in self.holders}
        for lease in list(self.disk.values()):
            if lease.process is not None and lease.process not in alive:
                self.happen(events.ProcessGone(process=lease.process))
        for _, process in list(self.parked):
            if process not in alive:
                self.happen(events.ProcessGone(process=process))

    def _measure(self, device_id: str) -> None:
        """The driver is read now, and the reading arrives later."""
        used = {
            holder.process: holder.memory for holder in self.holders if holder.memory and holder.device == device_id
        }
        strangers = self._drivers.choice([0, 0, 3, 8]) if self.devices[device_id].reserve else 0
        strangers += sum(program.bytes for program in self.programs if program.device == device_id)
        sample = Sample(at=self.now, used=sum(used.values()) + strangers, by_process=used)
        self.after(self._delay(), lambda: self.happen(events.Sampled(device=device_id, sample=sample)))
        self.after(self._drivers.uniform(0.05, 1.0), lambda: self._measure(device_id))

    def run(self, steps: int) -> Report:
        """Lets that many things happen.

        Raises:
            Violation: at the first that must not; `report.steps` says how far it came.
        """
        devices = tuple(self.devices.values())
        for self.report.steps in range(1, steps + 1):
            self.now, _, action = heapq.heappop(self._heap)
            action()
            check_memory(devices, self.holders, PARKING_BUDGET)
        self.report.seconds = self.now
        self.report.longest_wait_s = self.waits.longest_s
        return self.report


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
        return World(seed, step, fate=Fate(seed)).run(steps)
    except Violation as violation:
        raise Violation(violation.law, f"{violation.text} (seed {seed})") from violation
