"""The event loop around the core: one event after the other, saved in groups, then acted upon."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from milimo_arbiter.core import step
from milimo_arbiter.decisions import tell
from milimo_arbiter.effects import Change, Close, Decided, Evict, Kill, Queued, Refuse, Send, Watch
from milimo_arbiter.events import ExternalSeen, ProcessGone, Sampled, StreamEnded, Tick
from milimo_arbiter.plan import is_settling, next_change
from milimo_arbiter.processes import ProcessWatch
from milimo_arbiter.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from milimo_arbiter.devices import Driver
    from milimo_arbiter.effects import Effect
    from milimo_arbiter.events import Event
    from milimo_arbiter.external import Program
    from milimo_arbiter.state import Device, Lease, ProcessIdentity, State
    from milimo_arbiter.store import Answer, LeaseStore

    # The states before and after an event, to what is to be saved with it.
    Respond = Callable[[State, State], Answer | None]

# Decisions that onlookers can still see.
_DECISIONS: Final = 100
# How often a device is read, in seconds: while released memory is on its way back, while there is a queue or memory of
# a holder that is lost, and otherwise.
_SAMPLE_RETURNING_S: Final = 0.003
_SAMPLE_QUEUE_S: Final = 0.25
_SAMPLE_QUIET_S: Final = 1.0

# After something happened it is seen within so many seconds when the rules have to look again: once for all that
# happened meanwhile.
_LOOK_AHEAD_S: Final = 0.002

# Each place that is told takes time from those who wait: all together they hear of one in so many seconds.
_PLACE_S: Final = 0.001

# How often a program that is no tenant is asked what it holds, in seconds: while there is a queue or that was never
# known, and otherwise.
_LOOK_QUEUE_S: Final = 0.5
_LOOK_QUIET_S: Final = 5.0

# The wall clock was set when it is so many seconds off; below, the two clocks only tick differently.
_CLOCK_SET_S: Final = 0.1


class _Happening(NamedTuple):
    """An event, whoever waits for it to be acted upon, and what is to be saved with it."""

    event: Event
    done: asyncio.Future[None] | None = None
    respond: Respond | None = None


class Arbiter:
    """Owns the state. Everything happens on one event loop."""

    def __init__(
        self,
        *,
        state: State,
        store: LeaseStore,
        clock: Callable[[], float],
        wall: Callable[[], float],
        driver: Driver | None,
        programs: Sequence[Program] = (),
    ) -> None:
        self._state = state
        self._store = store
        self._clock = clock
        self._wall = wall
        self._wall_ahead_s = wall() - clock()
        self._driver = driver
        self._programs = {program.name: program for program in programs}
        self._look_again = {program.name: asyncio.Event() for program in programs}
        self._evictions: set[asyncio.Task[None]] = set()
        self._events: asyncio.Queue[_Happening] = asyncio.Queue()
        self._streams: dict[int, Stream] = {}
        self._opened = 0
        self._decisions: deque[Decided] = deque(maxlen=_DECISIONS)
        self._watch = ProcessWatch(lambda process: self.post(ProcessGone(process=process)))
        self._timer: asyncio.TimerHandle | None = None
        self._version = 0
        self._changed = asyncio.Condition()
        self._stirred = asyncio.Event()

    @property
    def state(self) -> State:
        """The state as saved."""
        return self._state

    @property
    def decisions(self) -> tuple[Decided, ...]:
        """The latest decisions, newest last."""
        return tuple(self._decisions)

    @property
    def version(self) -> int:
        """Rises with every change that onlookers can see."""
        return self._version

    def now(self) -> float:
        """The time of the arbiter's clock."""
        return self._clock()

    def to_wall(self, time: float) -> float:
        """A time of the arbiter's clock in seconds since the epoch: each time the same, unless the clock was set."""
        ahead = self._wall() - self._clock()
        if abs(ahead - self._wall_ahead_s) > _CLOCK_SET_S:
            self._wall_ahead_s = ahead
        return time + self._wall_ahead_s

    def is_alive(self, process: ProcessIdentity) -> bool:
        """Whether that process of this pid namespace runs."""
        return self._watch.sees(process)

    def open_stream(self) -> Stream:
        """A stream with a number that was never used."""
        self._opened += 1
        stream = Stream(self._opened)
        self._streams[stream.number] = stream
        return stream

    async def heard_all(self, stream: Stream) -> None:
        """The caller says no more. Whatever it said is answered, then its stream ends."""
        if stream.number in self._streams:
            await self.apply(StreamEnded(stream=stream.number))
            self._streams.pop(stream.number, None)
            stream.end()

    def close_stream(self, stream: Stream) -> None:
        """The caller is gone, or was told everything."""
        stream.end()
        if self._streams.pop(stream.number, None) is not None:
            self.post(StreamEnded(stream=stream.number))

    def post(self, event: Event) -> None:
        """Something happened."""
        self._events.put_nowait(_Happening(event))

    async def apply(self, event: Event, respond: Respond | None = None) -> None:
        """Something should happen; returns when it has been saved and acted upon.

        `respond` is called with the states before and after, and what it returns is saved with the decision.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._events.put_nowait(_Happening(event, done, respond))
        await done

    async def changed(self, version: int) -> int:
        """Waits until the state that onlookers see is newer than `version`; returns the new version."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._version > version)
            return self._version

    async def run(self) -> None:
        """Handles events for as long as the process lives. An error in here is a defect and ends it."""
        for lease in self._state.leases.values():
            if lease.process is not None:
                self._watch.watch(lease.process)
        for _, process in self._state.parked:
            self._watch.watch(process)
        async with asyncio.TaskGroup() as group:
            if self._driver is not None:
                group.create_task(self._sample(self._driver))
            for program in self._programs.values():
                group.create_task(self._look_at(program))
            try:
                self.post(Tick())
                while True:
                    await self._handle(await self._events.get())
            finally:
                self._watch.close()
                if self._timer is not None:
                    self._timer.cancel()

    async def _handle(self, first: _Happening) -> None:
        """Takes everything that has come by now, and saves it in one transaction before anybody hears of it."""
        batch = [first]
        # Whatever else has arrived since this was woken shares the commit.
        while not self._events.empty():
            batch.append(self._events.get_nowait())
        state = self._state
        effects: list[Effect] = []
        changes: list[Change | Answer] = []
        for happening in batch:
            earlier = state
            state, more = step(state, happening.event, self._clock())
            effects.extend(more)
            changes.extend(effect for effect in more if isinstance(effect, Change))
            answer = None if happening.respond is None else happening.respond(earlier, state)
            if answer is not None:
                changes.append(answer)
        if changes:
            # Quicker than handing it to a thread: the disk is waited for once in many grants.
            self._store.apply(changes, now=self._clock(), wall=self._wall())
        before, self._state = self._state, state
        for effect in effects:
            self._perform(effect)
        for happening in batch:
            if happening.done is not None and not happening.done.done():
                happening.done.set_result(None)
        # The replies go out first.
        await asyncio.sleep(0)
        if self._timer is None or self._timer.when() > asyncio.get_running_loop().time() + _LOOK_AHEAD_S:
            self._set_timer(self._look_ahead, _LOOK_AHEAD_S)
        if self._driver is not None and sample_pause(state, self._clock()) < sample_pause(before, self._clock()):
            self._stirred.set()
        if _looks_different(before, state):
            async with self._changed:
                self._version += 1
                self._changed.notify_all()
        for effect in effects:
            if isinstance(effect, Decided):
                tell(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Send(reply=Queued() as place):
                stream = self._streams.get(effect.stream)
                if stream is not None:
                    stream.say_place(place, len(self._state.waiters) * _PLACE_S)
            case Send() | Refuse():
                stream = self._streams.get(effect.stream)
                if stream is not None:
                    stream.say(effect.reply if isinstance(effect, Send) else effect)
            case Close():
                # The rules have done with it: they need not hear of its end.
                stream = self._streams.pop(effect.stream, None)
                if stream is not None:
                    stream.end()
            case Watch():
                self._watch.watch(effect.process)
            case Kill():
                self._watch.kill(effect.process)
            case Evict():
                eviction = asyncio.create_task(self._evict(self._programs[effect.name]))
                self._evictions.add(eviction)
                eviction.add_done_callback(self._evictions.discard)
            case Decided():
                self._decisions.append(effect)
            case _:
                # Was recorded before.
                pass

    def _set_timer(self, call: Callable[[], None], seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, call)

    def _look_ahead(self) -> None:
        """Has time pass when something will change by it."""
        self._timer = None
        now = self._clock()
        due = next_change(self._state, now)
        if due is not None:
            self._set_timer(self._let_time_pass, due - now)

    def _let_time_pass(self) -> None:
        self._timer = None
        self.post(Tick())

    async def _sample(self, driver: Driver) -> None:
        """Reads the devices: quickly while memory is on its way back, since the next in the queue waits for it."""
        while True:
            for device in self._state.devices.values():
                if device.driver:
                    sample = await asyncio.to_thread(driver.sample, device.id, self._clock())
                    await self.apply(Sampled(device=device.id, sample=sample))
            read_at = self._clock()
            while True:
                now = self._clock()
                left = read_at + sample_pause(self._state, now) - now
                if left <= 0:
                    break
                self._stirred.clear()
                await _wait_for(self._stirred, left)

    async def _look_at(self, program: Program) -> None:
        """Asks a program for what it holds, again and again."""
        again = self._look_again[program.name]
        while True:
            again.clear()
            seen = await program.look()
            await self.apply(
                ExternalSeen(
                    name=program.name,
                    device=program.device,
                    bytes=seen.bytes,
                    busy=seen.busy,
                    problem=seen.problem,
                )
            )
            # While nothing is known, requests are refused.
            eager = self._state.waiters or seen.bytes is None
            await _wait_for(again, _LOOK_QUEUE_S if eager else _LOOK_QUIET_S)

    async def _evict(self, program: Program) -> None:
        await program.evict()
        self._look_again[program.name].set()


def sample_pause(state: State, now: float) -> float:
    """Seconds from one reading of the devices to the next.

    Short for as long as memory that a holder has released should be showing as free: the next in the queue waits for
    nothing else. Nobody else's bytes come back by the millisecond; they may be gone for hours.
    """
    if any(is_settling(lease, state, now) for lease in state.leases.values()):
        return _SAMPLE_RETURNING_S
    if state.waiters or any(lease.quarantine is not None for lease in state.leases.values()):
        return _SAMPLE_QUEUE_S
    return _SAMPLE_QUIET_S


async def _wait_for(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _looks_different(before: State, after: State) -> bool:
    """Whether onlookers can see a change: they do not see when leases will expire."""
    return (
        before.leases.keys() != after.leases.keys()
        or any(_differs(before.leases[key], lease) for key, lease in after.leases.items())
        or before.waiters != after.waiters
        or before.grace_until != after.grace_until
        or before.parked != after.parked
        or before.externals != after.externals
        or any(_used(before.devices[key]) != _used(device) for key, device in after.devices.items())
    )


def _differs(before: Lease, after: Lease) -> bool:
    return before is not after and replace(before, expires_at=after.expires_at, last_used=after.last_used) != after


def _used(device: Device) -> int | None:
    return None if device.sample is None else device.sample.used
