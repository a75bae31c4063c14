"""A worker in the simulated world: keeps the protocol as `milimo_runtime.lease` does, in a process that suffers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from milimo_arbiter import effects, events
from milimo_arbiter.simulation.wishes import new_request, second_request, workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from milimo_arbiter.effects import Granted, Reply
    from milimo_arbiter.events import Event
    from milimo_arbiter.simulation.fate import Fate
    from milimo_arbiter.state import Device, ProcessIdentity, Request

# The holder stops this part of the TTL before the arbiter gives up, and sends this many heartbeats in it.
_MARGIN_OF_TTL: Final = 0.25
_HEARTBEATS_PER_TTL: Final = 6
_CHUNKS: Final = 4


class Host(Protocol):
    """Where processes live: the time, what can be done about it, and the way to the arbiter."""

    now: float
    fate: Fate
    devices: Mapping[str, Device]

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Does something later."""

    def open(self, holder: Holder, first: Callable[[int], Event]) -> int:
        """Opens a stream with a first message, and returns its number."""

    def tell(self, stream: int, event: Event) -> None:
        """Sends to the arbiter."""

    def cut(self, stream: int) -> None:
        """Breaks a stream; each end notices in its own time."""


class Holder:
    """One process with one tenant. Whatever it does or hears waits while the process is stopped."""

    def __init__(self, world: Host, *, tenant: str, process: ProcessIdentity, greedy: bool) -> None:
        self.world = world
        self.chance = world.fate.random(tenant)
        self.tenant = tenant
        self.process = process
        # Its own queue never ends: it goes idle only when it is asked to.
        self._greedy = greedy
        self._stopped_until = 0.0
        self._deferred: list[Callable[[], None]] = []
        self._jobs = 0
        # Bytes of host memory that hold its weights; kept from lease to lease.
        self.parked = 0
        self._reset()

    def _reset(self) -> None:
        self.stream: int | None = None
        # Granted, and loaded so far.
        self.bytes = 0
        self.memory = 0
        self.device = ""
        # What it asks for until an answer has come, when it asked last, and whether it was told to wait since.
        self.request: Request | None = None
        self._asked_at = 0.0
        self._queued = False
        self._withdrawn = False
        self._lease: Granted | None = None
        self._held = False
        self._lost = False
        self._valid_until = 0.0
        self._sent: dict[int, float] = {}
        self._sequence = 0
        self._turn = False
        self._wish = False
        self._freed = False
        self._parking = False
        # Rises whenever the past no longer matters, so that what was planned before is dropped.
        self._life = getattr(self, "_life", 0) + 1

    # The process.

    def stop(self, seconds: float) -> None:
        """SIGSTOP for a while."""
        self._stopped_until = max(self._stopped_until, self.world.now + seconds)
        self.world.after(self._stopped_until - self.world.now, self._continue)

    def _continue(self) -> None:
        if self.world.now >= self._stopped_until:
            deferred, self._deferred = self._deferred, []
            for action in deferred:
                action()

    def die(self, successor: ProcessIdentity) -> None:
        """SIGKILL; a supervisor starts another process."""
        stream = self.stream
        self._deferred.clear()
        self._stopped_until = 0.0
        self.parked = 0
        self._reset()
        self.process = successor
        if stream is not None:
            self.world.cut(stream)
        self._later(self.chance.uniform(0.1, 3.0), self.live)

    def _when_running(self, action: Callable[[], None]) -> None:
        life = self._life

        def guarded() -> None:
            if self._life == life:
                action()

        if self.world.now < self._stopped_until:
            self._deferred.append(guarded)
        else:
            guarded()

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        life = self._life
        self.world.after(seconds, lambda: self._when_running(action) if self._life == life else None)

    # The tenant.

    def live(self) -> None:
        """Asks for a lease, unless it has one."""
        if self.stream is not None or self._lease is not None:
            return
        if self.request is None:
            self._jobs += 1
            self.request = new_request(self.world.fate, tenant=self.tenant, process=self.process, number=self._jobs)
            cancelled_after = self.chance.uniform(0, 10)
            if self.world.fate.strikes("cancelled job", 0.1):
                self._later(cancelled_after, partial(self._cancel, self.request))
        request = self.request
        self._asked_at, self._queued = self.world.now, False
        self.stream = self.world.open(self, lambda stream: events.Acquire(stream=stream, request=request))
        if self._withdrawn:
            self._say(lambda stream: events.Release(stream=stream))
        elif self.world.fate.strikes("second request", 0.01):
            second = second_request(request)
            self.world.tell(self.stream, events.Acquire(stream=self.stream, request=second))
        elif self.world.fate.strikes("second resumption", 0.01):
            token, process = request.resume_token, self.process
            again = events.Resume(stream=self.stream, tenant=self.tenant, resume_token=token, process=process)
            self.world.tell(self.stream, again)

    def _peak(self) -> int:
        """What the turn has used, if it was measured: about what its work needs, within what is loaded."""
        need = min(self.memory, self.chance.choice([25, 60, 95]))
        return self.chance.randint(need - need // 8, need) if self.chance.random() < 0.7 else 0

    def _cancel(self, request: Request) -> None:
        """Nobody wants the lease any more. Whether it was granted meanwhile is not known, so it is released."""
        if self._lease is None and self.request is request:
            self._withdrawn = True
            self._say(lambda stream: events.Release(stream=stream))

    def hear(self, stream: int, reply: Reply) -> None:
        """A reply has arrived at the process."""
        self._when_running(lambda: self._hear(reply) if stream == self.stream else None)

    def _hear(self, reply: Reply) -> None:
        match reply:
            case effects.Granted():
                self._granted(reply)
            case effects.Renewed():
                sent_at = self._sent.pop(reply.sequence, None)
                if sent_at is not None and self._lease is not None:
                    self._renew(sent_at)
            case effects.ReclaimRequested():
                self._wish = not self.world.fate.strikes("deaf holder", 0.02)
                if self._wish and self._held and not self._turn and not self._lost:
                    self._yield(reply.bytes)
            case effects.Revoked():
                self._lose()
                if self._freed:
                    # It was away when it said so.
                    self._say(lambda stream: events.Release(stream=stream))
            case effects.Queued():
                self._queued = True
            case effects.Parked():
                if self._parking and not self._freed:
                    self.parked = reply.bytes
                    self._free()
            case effects.Released():
                pass

    def _granted(self, reply: Granted) -> None:
        if self._withdrawn:
            return
        if self._lease is None:
            self._lease = reply
            self.device, self.bytes = reply.lease.device, reply.lease.bytes
            self._valid_until = self.world.now + 0.75 * reply.ttl_s
            if not self._queued:
                # The answer to the request itself.
                self._valid_until = self._asked_at
                self._renew(self._asked_at, first=True)
            if self.stream is not None and self.world.fate.strikes("stream broken by its grant", 0.01):
                self.world.cut(self.stream)
            self._beat()
            return
        self._renew(self._sent.pop(0, 0.0))
        if self._freed:
            self._say(lambda stream: events.Release(stream=stream))
        elif self._parking:
            # The answer was lost with the stream: the weights are dropped.
            self._free()
        elif self._turn or not self._held:
            self._say(lambda stream: events.Busy(stream=stream, job_id=f"j{self._jobs}", waiting_jobs=0))
        else:
            self._say(lambda stream: events.Idle(stream=stream))

    def _renew(self, sent_at: float, *, first: bool = False) -> None:
        assert self._lease is not None
        if self._expired() and not first:
            self._lose()
            return
        self._valid_until = max(self._valid_until, sent_at + (1 - _MARGIN_OF_TTL) * self._lease.ttl_s)
        if not self._held:
            self._held = self._turn = True
            self._later(self.chance.uniform(0.01, 0.5), self._load)

    def _expired(self) -> bool:
        return self._lost or self.world.now >= self._valid_until

    def may_use_device(self) -> bool:
        """Whether the process, as far as it knows, holds the lease at this moment. A stopped one does nothing."""
        return self._held and not self._freed and not self._expired() and self.world.now >= self._stopped_until

    def _beat(self) -> None:
        if self._lease is None or self._freed or self._lost:
            return
        if self._expired():
            self._lose()
            return
        self._sequence += 1
        self._sent[self._sequence] = self.world.now
        parked = self.parked if self.chance.random() < 0.5 else None
        sequence, used = self._sequence, self.memory if self.chance.random() < 0.7 else None
        self._say(lambda stream: events.Heartbeat(stream=stream, sequence=sequence, used=used, parked=parked))
        self._later(self._lease.ttl_s / _HEARTBEATS_PER_TTL, self._beat)

    def _load(self) -> None:
        if self._expired():
            self._lose()
            return
        self.memory = min(self.bytes, self.memory + -(-self.bytes // _CHUNKS))
        if self.memory == self.bytes and self.parked:
            self.parked = 0
            self._say(lambda stream: events.Park(stream=stream, bytes=0))
        again = self._load if self.memory < self.bytes else self._work
        self._later(self.chance.uniform(0.1, 1.0), again)

    def _work(self) -> None:
        self._later(self.chance.uniform(0.1, 8.0), self._finish)

    def _finish(self) -> None:
        if self._expired():
            self._lose()
            return
        chance = self.chance
        if self._wish:
            self._drop()
        elif self._greedy or chance.random() < 0.5:
            self._jobs += 1
            job, waiting, peak = f"j{self._jobs}", chance.choice([0, 1, 2]), self._peak()
            work = workload(self.tenant, chance.randint(1, 3))
            self._say(
                lambda stream: events.Busy(stream=stream, job_id=job, waiting_jobs=waiting, peak=peak, workload=work)
            )
            self._work()
        else:
            self._turn = False
            peak = self._peak()
            self._say(lambda stream: events.Idle(stream=stream, peak=peak))
            self._later(chance.uniform(0.1, 10.0), self._next)

    def _next(self) -> None:
        if self._freed or self._parking or self._lost or not self._held or self._turn:
            return
        chance = self.chance
        if chance.random() < 0.3:
            self._drop()
            return
        if chance.random() < 0.2 and self.bytes > 4:
            self._shrink(self.bytes // 4)
        elif self.world.fate.strikes("shrunk by too much", 0.02):
            all_of_it = self.bytes
            self._say(lambda stream: events.Shrink(stream=stream, bytes=all_of_it))
        self._turn = True
        self._jobs += 1
        job = f"j{self._jobs}"
        self._say(lambda stream: events.Busy(stream=stream, job_id=job, waiting_jobs=0))
        self._work()

    def _yield(self, wanted: int) -> None:
        """Gives back what is wanted, or everything."""
        gone = self._freed or self._parking
        if gone or wanted >= self.bytes or not self.world.fate.strikes("shrunk as asked", 0.2):
            self._drop()
            return
        self._wish = False
        self._shrink(wanted)

    def _shrink(self, part: int) -> None:
        self.bytes -= part
        self.memory = min(self.memory, self.bytes)
        self._say(lambda stream: events.Shrink(stream=stream, bytes=part))

    def _lose(self) -> None:
        if not self._lost:
            self._lost = True
            self._later(self.chance.uniform(0.0, 1.0), self._drop)

    def _drop(self) -> None:
        """Frees the memory, after it has parked its weights if it does so now."""
        if self._freed or (self._parking and not self._lost):
            return
        if not self._lost and self.chance.random() < 0.4:
            self._parking = True
            size = self.bytes
            self._say(lambda stream: events.Park(stream=stream, bytes=size))
        else:
            self._free()

    def _free(self) -> None:
        """Frees the memory, then says so. Where a driver measures, it takes the driver a moment."""
        self._turn = False
        self._freed = True
        if self.device and self.world.devices[self.device].driver:
            self.world.after(self.chance.uniform(0.0, 2.0), partial(self._give_back, self._life))
        else:
            self.memory = 0
        self._say(lambda stream: events.Release(stream=stream))

    def _give_back(self, life: int) -> None:
        # Not deferred while the process is stopped: it is the driver that is late.
        if life == self._life:
            self.memory = 0

    def _say(self, message: Callable[[int], events.Message]) -> None:
        if self.stream is not None:
            self.world.tell(self.stream, message(self.stream))

    # The streams.

    def stream_broke(self, stream: int) -> None:
        """The connection is lost: a waiter asks again, a holder resumes."""
        self._when_running(lambda: self._broke(stream))

    def _broke(self, stream: int) -> None:
        if stream != self.stream:
            return
        self.stream = None
        self._sent.clear()
        pause = self.chance.uniform(0.05, 2.0)
        self._later(pause, self.live if self._lease is None else self._resume)

    def _resume(self) -> None:
        if self._lease is None or self.stream is not None:
            return
        token = self._lease.lease.resume_token
        self._sent[0] = self.world.now
        self.stream = self.world.open(
            self,
            lambda stream: events.Resume(stream=stream, tenant=self.tenant, resume_token=token, process=self.process),
        )

    def stream_ended(self, stream: int) -> None:
        """The arbiter has nothing more to say: the lease is over."""
        self._when_running(lambda: self._ended(stream))

    def _ended(self, stream: int) -> None:
        if stream != self.stream:
            return
        if self._lost and not self._freed:
            self._drop()
        device, memory = self.device, self.memory
        self._reset()
        if memory:
            self.device, self.memory = device, memory
            self.world.after(0.5, partial(self._give_back, self._life))
        self._later(self.chance.uniform(0.6, 6.0), self.live)
