"""The weights of one tenant in this process, and the lease under which they are there.

Jobs take turns, one at a time, each in its own thread. Between turns the weights stay warm; when the arbiter wants the
memory back, they go, at once when nobody uses them, otherwise at the end of the turn: to host memory where the arbiter
lends some, or altogether.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from milimo_runtime.host_memory import HostMemory
from milimo_runtime.job_trace import LeaseWait
from milimo_runtime.lease import Lease, acquire
from milimo_runtime.lease_terms import Claim, Grade, Grant, Priority, QueuePlace, Workload
from milimo_runtime.lease_wait import wait_for_lease
from milimo_runtime.memory import Departure, clear_ended_frames
from milimo_runtime.out_of_memory import Room
from milimo_runtime.resident import Resident
from milimo_runtime.turn import Turn
from milimo_runtime.turn_memory import TurnMemory
from milimo_runtime.turn_order import TurnOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence

    import grpc.aio
    import torch

log = logging.getLogger(__name__)

M = TypeVar("M")
T = TypeVar("T")

# How long the last turn may take to end when the residency is closed, and then the arbiter to answer, in seconds. An
# arbiter that does not answer learns the same from the end of the stream.
_CLOSE_S: Final = 20.0
_FAREWELL_S: Final = 1.0


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
        memory: TurnMemory | None = None,
        size_of: Callable[[M], int] = lambda _: 0,
        modules_of: Callable[[M], Iterable[torch.nn.Module]] = lambda _: (),
        drop_caches: Callable[[M], None] = lambda _: None,
        parks: Callable[[Grant], bool] = lambda _: False,
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
            memory: measures the device; without it nothing is measured.
            size_of: bytes of a model's weights.
            modules_of: the modules that hold a model's weights: what can be parked.
            drop_caches: forgets what a model keeps beside its weights.
            parks: whether weights that leave the granted device are parked in host memory, if the arbiter lends any.
            min_hold_s: how long freshly loaded weights are kept before a turn is asked to yield.
            clock: seconds on a monotonic clock.
        """
        self._loop = loop
        self._channel = channel
        self._tenant = tenant
        self._grades = {grade.name: grade for grade in grades}
        self._memory = TurnMemory() if memory is None else memory
        self._min_hold_s = min_hold_s
        self._clock = clock
        self._order = TurnOrder(tenant)
        self._weights = Resident(
            tenant, load=load, size_of=size_of, modules_of=modules_of, drop_caches=drop_caches, clock=clock
        )
        self._parks = parks
        self._lease: Lease | None = None
        self._host = HostMemory(self._on_loop)

    @property
    def waiting_jobs(self) -> int:
        """Jobs that wait for their turn."""
        return self._order.waiting

    @property
    def grant(self) -> Grant | None:
        """What the resident weights run on; None while there are none."""
        lease = self._lease
        return None if self._weights.model is None or lease is None else lease.grant

    @property
    def parked_bytes(self) -> int:
        """Bytes of host memory in which the weights are parked; 0 while they are not."""
        return self._weights.parked_bytes

    def wake(self, job_id: str) -> None:
        """Has a waiting job call its `on_waiting` at once, which may then raise because the job was cancelled.

        Nothing comes of it when that job does not wait.
        """
        self._order.wake(job_id)

    @contextlib.contextmanager
    def turn(
        self,
        job_id: str,
        priority: Priority = Priority.NORMAL,
        on_waiting: Callable[[QueuePlace], None] = _nobody_listens,
        workload: Workload | None = None,
    ) -> Iterator[Turn[M]]:
        """Waits for this job's turn and for the memory, loads the model if it is not there, and yields it.

        Args:
            job_id: of the job; it has one turn at a time.
            priority: order among the jobs of this process, and in the arbiter's queue.
            on_waiting: called from this thread with each new place in a queue, about twice a second while the job
                waits, and between the parts of a model that is loaded. What it raises leaves the queue at once, or
                drops what was loaded so far, and passes.
            workload: what the turn computes: the arbiter learns what that needs.

        Raises:
            LeaseLost: from `Turn.check`, and here when the lease was lost while the model was loaded.
            MilimoError: when the arbiter refuses the request.
        """
        wait = LeaseWait(self._tenant, self._clock)
        on_waiting = wait.heard_by(on_waiting)
        with wait:
            self._queue_up(job_id, priority, on_waiting)
        failure: BaseException | None = None
        complete = False
        try:
            with wait:
                lease, model = self._resident(job_id, priority, on_waiting, wait, workload)
            turn = Turn(
                model,
                lease,
                self._min_hold_s,
                self._clock,
                give_spare=lambda: self._give_spare(lease, may_drop_caches=False),
                room=self._room(lease),
            )
            del model
            try:
                yield turn
                complete = turn.computed
            finally:
                turn.end()
        except BaseException as error:
            failure = error
            raise
        finally:
            self._memory.end(complete=complete)
            self._end_turn(failure)
            failure = None

    def _queue_up(self, job_id: str, priority: Priority, on_waiting: Callable[[QueuePlace], None]) -> None:
        """Returns when the job is the current one."""
        try:
            self._order.take(job_id, priority, on_waiting, self._tell_waiting_jobs)
        except BaseException:
            self._tell_waiting_jobs()
            # The last turn may have left the lease busy for this job.
            if self._order.begin_housekeeping(unless_wanted=True):
                self._end_turn()
            raise

    def _resident(
        self,
        job_id: str,
        priority: Priority,
        on_waiting: Callable[[QueuePlace], None],
        wait: LeaseWait,
        workload: Workload | None,
    ) -> tuple[Lease, M]:
        """The model on a lease that is held, from the last turn or brought now. This job is the current one."""
        lease, model = self._lease, self._weights.model
        fits = lease is not None and self._memory.fits(workload, self._grades[lease.grant.grade], lease.bytes)
        if lease is not None and model is not None and lease.lost is None and lease.wish is None and fits:
            self._post(lease.busy(job_id, self.waiting_jobs, workload, peak_bytes=self._memory.take_peak()))
            wait.granted(lease.grant, is_resident=True)
            self._memory.begin(workload, lease.grant.grade)
            return lease, model
        del model
        self._see_off(self._let_go())
        lease = self._acquire(job_id, priority, on_waiting, workload)
        wait.granted(lease.grant, is_resident=False)
        try:
            model = self._bring_under(lease, on_waiting)
        except BaseException as error:
            clear_ended_frames(error)
            # What was not restored is parked still.
            self._see_off(Departure(None) if self._weights.parked_bytes else self._weights.drop())
            raise
        self._host.settle(lease, self._weights.parked_bytes)
        self._memory.begin(workload, lease.grant.grade)
        self._post(lease.report())
        # The request may have named a larger one.
        self._post(lease.busy(job_id, self.waiting_jobs, workload))
        return lease, model

    def _bring_under(self, lease: Lease, on_waiting: Callable[[QueuePlace], None]) -> M:
        place = QueuePlace(position=0, reason=f"{self._tenant} loads its weights")

        def check() -> None:
            on_waiting(place)
            self._order.check_open()
            lease.check()

        check()
        started = self._clock()
        model = self._room(lease).try_twice(lambda: self._weights.bring(lease.grant, check))
        grade, seconds = lease.grant.grade, self._clock() - started
        self._grades[grade] = replace(self._grades[grade], load_seconds=seconds)
        told = {"action": "weights_loaded", "tenant": self._tenant, "seconds": round(seconds, 3)}
        log.info("weights loaded", extra={**told, **asdict(lease.grant)})
        return model

    def _acquire(
        self, job_id: str, priority: Priority, on_waiting: Callable[[QueuePlace], None], workload: Workload | None
    ) -> Lease:
        """Waits in the arbiter's queue. What `on_waiting` raises takes the request back."""
        claim = Claim(
            tenant=self._tenant,
            grades=tuple(self._grades.values()),
            priority=priority,
            min_hold_s=self._min_hold_s,
            job_id=job_id,
            workload=self._memory.claimed(workload),
        )

        def ask(on_queued: Callable[[QueuePlace], None]) -> Coroutine[Any, Any, Lease]:
            return acquire(
                self._channel,
                claim,
                on_queued=on_queued,
                measure=self._memory.used,
                parked=lambda: self._weights.parked_bytes,
                on_change=self._lease_changed,
                waiting=lambda: self._order.waiting,
                clock=self._clock,
            )

        def look(place: QueuePlace) -> None:
            on_waiting(place)
            self._order.check_open()

        condition = self._order.condition
        lease = wait_for_lease(self._loop, ask, condition=condition, roused=self._order.roused, look=look)
        with condition:
            self._lease = lease
        self._memory.granted(claim.workload, self._grades[lease.grant.grade], lease.bytes)
        # Those who came meanwhile.
        self._tell_waiting_jobs()
        return lease

    def _end_turn(self, failure: BaseException | None = None) -> None:
        """Makes way: for the next job here, for others, or for warm idleness."""
        while True:
            lease = self._lease
            if lease is not None:
                self._give_spare(lease)
            if self._must_go():
                departure = self._let_go()
                if not departure.gone:
                    # The frame that the turn ends in refers to them still: what follows has to wait until it is left.
                    self._order.keep_house()
                    self._aside(self._see_off, departure, failure)
                    return
                self._see_off(departure)
            elif lease is not None and self.waiting_jobs == 0:
                self._post(lease.idle(self._memory.take_peak()))
            with self._order.condition:
                # A wish that came just now found a turn in progress, and left it to this.
                if not self._must_go():
                    self._order.end()
                    return

    def _must_go(self) -> bool:
        """Whether the weights have no business on the device any more."""
        lease = self._lease
        return lease is not None and (lease.lost is not None or lease.wish is not None or self._order.closed)

    def _let_go(self) -> Departure:
        """Takes the weights off the device: parks them where the arbiter lends memory, or drops them."""
        lease = self._lease
        if lease is None:
            # Nothing of them is on the device.
            return Departure(None)
        may_park = self._parks(lease.grant) and not self._order.closed and lease.lost is None
        if may_park and self._weights.park(lambda size: self._host.borrow(lease, size)):
            self._post(lease.report())
            return Departure(None)
        return self._weights.drop()

    def _see_off(self, departure: Departure, failure: BaseException | None = None) -> None:
        """Releases the lease when the weights are gone."""
        lease = self._lease
        if lease is None:
            return
        self._weights.see_off(departure, failure)
        self._host.settle(lease, self._weights.parked_bytes)
        closed = self._order.closed
        known = self._on_loop(lease.release(self._memory.take_peak(), patience_s=_FAREWELL_S if closed else None))
        if closed and not known:
            self._on_loop(lease.abandon())
        with self._order.condition:
            self._lease = None

    def _give_spare(self, lease: Lease, *, may_drop_caches: bool = True) -> None:
        """Gives back what is wanted of the lease if turns can do without; the weights stay then."""
        wish = lease.wish
        if wish is None or lease.lost is not None or self._order.closed or wish.bytes > self._memory.spare(lease.bytes):
            return
        left = lease.bytes - wish.bytes
        if self._weights.shrink(lambda: (self._memory.used() or 0) <= left, may_drop_caches=may_drop_caches):
            self._on_loop(lease.shrink(wish.bytes))

    def _room(self, lease: Lease) -> Room:
        """What is done when memory runs out under the lease."""
        return Room(self._channel, self._on_loop, self._tenant, lease, self._weights.shrink)

    def _lease_changed(self) -> None:
        """On the loop: the lease is lost, or memory is wanted back. A turn sees to it at its end."""
        with self._order.condition:
            if self._lease is None or not self._order.begin_housekeeping():
                return
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

    def _tell_waiting_jobs(self) -> None:
        """Lets the arbiter know how many jobs wait behind the current one: it grants as many turns in a row."""
        with self._order.condition:
            lease, waiting = self._lease, self.waiting_jobs
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
        self._order.close()
        await asyncio.to_thread(self._close, self._clock() + patience_s)
        with self._order.condition:
            lease, self._lease = self._lease, None
        if lease is not None:
            await lease.abandon()

    def _close(self, until: float) -> None:
        """Returns when nothing is held any more, or when it is too late."""
        with self._order.condition:
            if not self._order.wait_until_free(until - self._clock()):
                return
            self._order.keep_house()
        self._weights.forget_parked()
        self._end_turn()
        # Weights that somebody refers to still are seen off elsewhere.
        self._order.wait_until_free(until - self._clock())
