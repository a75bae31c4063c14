"""The weights of one tenant in this process, and the lease under which they are there.

Jobs take turns, one at a time, each in its own thread. Between turns the weights stay warm; when the arbiter wants the
memory back, they go, at once when nobody uses them, otherwise at the end of the turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from milimo_runtime.job_trace import LeaseWait, Swap
from milimo_runtime.lease import Lease, acquire
from milimo_runtime.lease_terms import Claim, Grade, Grant, LeaseLost, Priority, QueuePlace
from milimo_runtime.lease_wait import PATIENCE_S, wait_for_lease
from milimo_runtime.local_queue import LocalQueue, LocalWaiter
from milimo_runtime.memory import Departure, clear_ended_frames, give_back
from milimo_runtime.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    import grpc.aio

log = logging.getLogger(__name__)

M = TypeVar("M")
T = TypeVar("T")

# How long the weights of a turn that has ended may still be referred to, in seconds.
_DEPARTURE_S: Final = 30.0
# How long the last turn may take to end when the residency is closed, and then the arbiter to answer, in seconds. An
# arbiter that does not answer learns the same from the end of the stream.
_CLOSE_S: Final = 20.0
_FAREWELL_S: Final = 1.0
# Stands for a job while weights are dropped that nobody uses.
_HOUSEKEEPING: Final = "housekeeping"


def _nobody_listens(place: QueuePlace) -> None:
    """A job that does not tell where it waits."""


class Residency(Generic[M]):
    """Loads, keeps and drops one tenant's weights. Threads call `turn`; everything about the lease runs on `loop`."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        channel: grpc.aio.Channel,
        tenant: str,
        grades: Sequence[Grade],
        load: Callable[[Grant, Callable[[], None]], M],
        measure: Callable[[], int | None] = lambda: None,
        size_of: Callable[[M], int] = lambda _: 0,
        min_hold_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Holds nothing yet: the first turn asks for the lease.

        Args:
            loop: the running loop that owns `channel`.
            channel: to the arbiter.
            tenant: who asks, such as "video".
            grades: the ways to run the model, in order of preference.
            load: builds the model for what was granted, in the job's thread. The result belongs to the residency. Calls
                its second argument between the model's parts, and lets pass what that raises: the job was cancelled,
                or the lease is lost.
            measure: bytes on the device that the tenant's allocator has now; None when it cannot tell. Must be quick.
            size_of: bytes of a model's weights.
            min_hold_s: how long freshly loaded weights are kept before a turn is asked to yield.
            clock: seconds on a monotonic clock.
        """
        self._loop = loop
        self._channel = channel
        self._tenant = tenant
        self._grades = {grade.name: grade for grade in grades}
        self._load = load
        self._measure = measure
        self._size_of = size_of
        self._min_hold_s = min_hold_s
        self._clock = clock
        # Guards everything below. Nothing is awaited and no callback is called while it is held.
        self._condition = threading.Condition()
        self._waiters = LocalQueue(tenant)
        # The job whose turn it is; "housekeeping" while weights are dropped that nobody uses.
        self._current: str | None = None
        # Whether it was woken: it may wait for the arbiter.
        self._woken = False
        self._model: M | None = None
        self._lease: Lease | None = None
        self._leaving: Swap | None = None
        self._peak = 0
        self._closed = False

    @property
    def waiting_jobs(self) -> int:
        """Jobs that wait for their turn."""
        with self._condition:
            return len(self._waiters)

    @property
    def grant(self) -> Grant | None:
        """What the resident weights run on; None while there are none."""
        with self._condition:
            return None if self._model is None or self._lease is None else self._lease.grant

    def wake(self, job_id: str) -> None:
        """Has a waiting job call its `on_waiting` at once, which may then raise because the job was cancelled.

        Nothing comes of it when that job does not wait.
        """
        with self._condition:
            self._waiters.wake(job_id)
            if self._current == job_id:
                self._woken = True
            self._condition.notify_all()

    @contextlib.contextmanager
    def turn(
        self,
        job_id: str,
        priority: Priority = Priority.NORMAL,
        on_waiting: Callable[[QueuePlace], None] = _nobody_listens,
    ) -> Iterator[Turn[M]]:
        """Waits for this job's turn and for the memory, loads the model if it is not there, and yields it.

        Args:
            job_id: of the job; it has one turn at a time.
            priority: order among the jobs of this process, and in the arbiter's queue.
            on_waiting: called from this thread with each new place in a queue, about twice a second while the job
                waits, and between the parts of a model that is loaded. What it raises leaves the queue at once, or
                drops what was loaded so far, and passes.

        Raises:
            LeaseLost: from `Turn.check`, and here when the lease was lost while the model was loaded.
            MilimoError: when the arbiter refuses the request.
        """
        wait = LeaseWait(self._tenant, self._clock)
        on_waiting = wait.heard_by(on_waiting)
        with wait:
            self._queue_up(job_id, priority, on_waiting)
        failure: BaseException | None = None
        try:
            with wait:
                lease, model = self._resident(job_id, priority, on_waiting, wait)
            turn = Turn(model, lease, self._min_hold_s, self._clock)
            del model
            try:
                yield turn
            finally:
                turn.end()
        except BaseException as error:
            failure = error
            raise
        finally:
            self._end_turn(failure)
            failure = None

    def _queue_up(self, job_id: str, priority: Priority, on_waiting: Callable[[QueuePlace], None]) -> None:
        """Returns when the job is the current one."""
        with self._condition:
            waiter = self._waiters.add(job_id, priority)
            self._condition.notify_all()
        self._tell_waiting_jobs()
        try:
            while True:
                with self._condition:
                    if self._takes_turn(waiter):
                        return
                    place = self._waiters.place(waiter, self._current)
                    if place == waiter.told and not waiter.woken:
                        self._condition.wait(PATIENCE_S)
                        if self._takes_turn(waiter):
                            return
                    waiter.told = place
                    waiter.woken = False
                on_waiting(place)
        except BaseException:
            with self._condition:
                self._waiters.remove(waiter)
                # The last turn may have left the lease busy for this job.
                left_alone = self._current is None and len(self._waiters) == 0
                if left_alone:
                    self._current = _HOUSEKEEPING
                self._condition.notify_all()
            self._tell_waiting_jobs()
            if left_alone:
                self._end_turn()
            raise

    def _takes_turn(self, waiter: LocalWaiter) -> bool:
        """Makes the waiter's job the current one if it is its turn. The condition is held."""
        self._check_open()
        if self._current is not None or not self._waiters.is_next(waiter):
            return False
        self._waiters.remove(waiter)
        self._current = waiter.job_id
        self._woken = waiter.woken
        # Those behind it have a new place.
        self._condition.notify_all()
        return True

    def _check_open(self) -> None:
        if self._closed:
            raise LeaseLost(f"{self._tenant} is shutting down")

    def _resident(
        self, job_id: str, priority: Priority, on_waiting: Callable[[QueuePlace], None], wait: LeaseWait
    ) -> tuple[Lease, M]:
        """The model on a lease that is held, from the last turn or loaded now. This job is the current one."""
        lease, model = self._lease, self._model
        if lease is not None and model is not None and lease.lost is None and lease.wish is None:
            self._post(lease.busy(job_id, self.waiting_jobs))
            wait.granted(lease.grant, is_resident=True)
            return lease, model
        del model
        self._see_off(self._let_go())
        lease = self._acquire(job_id, priority, on_waiting)
        wait.granted(lease.grant, is_resident=False)
        try:
            model = self._load_on(lease, on_waiting)
        except BaseException as error:
            clear_ended_frames(error)
            self._see_off(self._let_go())
            raise
        with self._condition:
            self._model = model
        self._post(lease.report())
        return lease, model

    def _load_on(self, lease: Lease, on_waiting: Callable[[QueuePlace], None]) -> M:
        place = QueuePlace(position=0, reason=f"{self._tenant} loads its weights")

        def check() -> None:
            on_waiting(place)
            self._check_open()
            lease.check()

        check()
        started = self._clock()
        with Swap("load", self._tenant, self._clock) as swap:
            model = self._load(lease.grant, check)
            swap.size = self._size_of(model)
        # A holder that was paused while it loaded must not go on with what is somebody else's by now.
        lease.check()
        self._remember_load(lease.grant, self._clock() - started)
        return model

    def _acquire(self, job_id: str, priority: Priority, on_waiting: Callable[[QueuePlace], None]) -> Lease:
        """Waits in the arbiter's queue. What `on_waiting` raises takes the request back."""
        claim = Claim(
            tenant=self._tenant,
            grades=tuple(self._grades.values()),
            priority=priority,
            min_hold_s=self._min_hold_s,
            job_id=job_id,
        )

        def ask(on_queued: Callable[[QueuePlace], None]) -> Coroutine[Any, Any, Lease]:
            return acquire(
                self._channel,
                claim,
                on_queued=on_queued,
                measure=self._measured,
                on_change=self._lease_changed,
                clock=self._clock,
            )

        def roused() -> bool:
            woken, self._woken = self._woken, False
            return woken or self._closed

        def look(place: QueuePlace) -> None:
            on_waiting(place)
            self._check_open()

        lease = wait_for_lease(self._loop, ask, condition=self._condition, roused=roused, look=look)
        with self._condition:
            self._lease = lease
            self._peak = 0
        return lease

    def _end_turn(self, failure: BaseException | None = None) -> None:
        """Makes way: for the next job here, for others, or for warm idleness."""
        while True:
            lease = self._lease
            if self._must_go():
                departure = self._let_go()
                if not departure.gone:
                    # The frame that the turn ends in refers to them still: what follows has to wait until it is left.
                    with self._condition:
                        self._current = _HOUSEKEEPING
                    self._aside(self._see_off, departure, failure)
                    return
                self._see_off(departure)
            elif lease is not None and self.waiting_jobs == 0:
                self._post(lease.idle())
            with self._condition:
                # A wish that came just now found a turn in progress, and left it to this.
                if not self._must_go():
                    self._current = None
                    self._condition.notify_all()
                    return

    def _must_go(self) -> bool:
        """Whether the weights have no business here any more."""
        lease = self._lease
        return lease is not None and (lease.lost is not None or lease.wish is not None or self._closed)

    def _let_go(self) -> Departure:
        """Drops the weights here. The caller is the current one."""
        if self._model is not None:
            self._leaving = Swap("unload", self._tenant, self._clock, size=self._size_of(self._model))
        with self._condition:
            model, self._model = self._model, None
        departure = Departure(model)
        del model
        if self._lease is not None:
            give_back()
        return departure

    def _see_off(self, departure: Departure, failure: BaseException | None = None) -> None:
        """Releases the lease when the weights are gone."""
        lease = self._lease
        if lease is None:
            return
        if not departure.gone:
            if not departure.wait(_DEPARTURE_S, failure):
                log.error(
                    "weights are still referred to after their turn: their memory is released while it is in use",
                    extra={"action": "weights_kept", "tenant": self._tenant},
                )
            give_back()
        if self._leaving is not None:
            self._leaving.done()
            self._leaving = None
        known = self._on_loop(lease.release(self._peak, patience_s=_FAREWELL_S if self._closed else None))
        if self._closed and not known:
            self._on_loop(lease.abandon())
        with self._condition:
            self._lease = None

    def _lease_changed(self) -> None:
        """On the loop: the lease is lost, or memory is wanted back. A turn sees to it at its end."""
        with self._condition:
            if self._current is not None or self._lease is None:
                return
            self._current = _HOUSEKEEPING
        self._aside(lambda: None)

    def _aside(self, work: Callable[..., None], *arguments: object) -> None:
        """Does some housekeeping and ends its turn, in a thread of its own.

        Collecting garbage takes long and the loop has heartbeats to send; the loop's own threads may all be jobs that
        wait for this.
        """

        def housekeeping() -> None:
            work(*arguments)
            self._end_turn()

        threading.Thread(target=housekeeping, name=f"housekeeping of {self._tenant}", daemon=True).start()

    def _measured(self) -> int | None:
        used = self._measure()
        self._peak = max(self._peak, used or 0)
        return used

    def _remember_load(self, grant: Grant, seconds: float) -> None:
        grade = self._grades[grant.grade]
        self._grades[grant.grade] = replace(grade, load_seconds=seconds)
        told = {"action": "weights_loaded", "tenant": self._tenant, "seconds": round(seconds, 3)}
        log.info("weights loaded", extra={**told, **asdict(grant)})

    def _tell_waiting_jobs(self) -> None:
        """Lets the arbiter know how many jobs wait behind the current one: it grants as many turns in a row."""
        with self._condition:
            lease, waiting = self._lease, len(self._waiters)
        if lease is not None:
            self._post(lease.count_waiting(waiting))

    def _on_loop(self, work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _post(self, work: Coroutine[None, None, None]) -> None:
        """Has the loop do something that the caller need not wait for. In the order of the calls."""
        asyncio.run_coroutine_threadsafe(work, self._loop)

    async def close(self, patience_s: float = _CLOSE_S) -> None:
        """Lets the current turn end, drops the weights and releases the lease. Jobs that wait get LeaseLost.

        A turn that has not ended after `patience_s` seconds is left to itself: it finds its lease lost.
        """
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        await asyncio.to_thread(self._close, self._clock() + patience_s)
        with self._condition:
            lease, self._lease = self._lease, None
        if lease is not None:
            await lease.abandon()

    def _close(self, until: float) -> None:
        """Returns when nothing is held any more, or when it is too late."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._current is None, max(0.0, until - self._clock())):
                return
            self._current = _HOUSEKEEPING
        self._end_turn()
        with self._condition:
            # Weights that somebody refers to still are seen off elsewhere.
            self._condition.wait_for(lambda: self._current is None, max(0.0, until - self._clock()))
