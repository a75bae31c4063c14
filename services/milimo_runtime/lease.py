"""A worker's end of a lease: asks the arbiter, keeps the lease alive, and knows by itself when it is lost.

The holder trusts no message for its own safety: each heartbeat that is answered carries it to that heartbeat's sending
time plus the TTL less a margin, on this process's monotonic clock. Past that it stops, whether or not it hears
anything; the arbiter gives the memory to somebody else only after the full TTL.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio
from milimo.v1 import arbiter_pb2, arbiter_pb2_grpc

from milimo_runtime.errors import MilimoError
from milimo_runtime.lease_request import ask
from milimo_runtime.lease_stream import Broken, acquire_message, busy, heartbeat, next_reply, say
from milimo_runtime.lease_terms import Claim, Grant, LeaseLost, QueuePlace, ReclaimWish, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    Call = grpc.aio.StreamStreamCall[arbiter_pb2.LeaseRequest, arbiter_pb2.LeaseResponse]

log = logging.getLogger(__name__)

# Parts of the TTL: a heartbeat is sent this often, and the holder stops this long before the arbiter gives up.
_HEARTBEATS_PER_TTL: Final = 6
_MARGIN_OF_TTL: Final = 0.25
# Pauses between attempts to reach the arbiter, in seconds.
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
# How long the arbiter may take to answer `park`, in seconds.
_PARK_S: Final = 5.0


async def acquire(
    channel: grpc.aio.Channel,
    request: Claim,
    *,
    on_queued: Callable[[QueuePlace], None],
    measure: Callable[[], int | None],
    on_change: Callable[[], None],
    waiting: Callable[[], int] = lambda: 0,
    parked: Callable[[], int] = lambda: 0,
    clock: Callable[[], float] = time.monotonic,
) -> Lease:
    """Waits for a lease and returns it, held and confirmed. Cancelling leaves the queue at once.

    Args:
        channel: to the arbiter. While it does not answer, the request is repeated.
        request: what is asked for.
        on_queued: hears of each new place in the queue.
        measure: bytes that the tenant's allocator has on the device, None when it cannot tell. Called with each
            heartbeat on the event loop: it must be quick.
        on_change: called on the event loop when the lease is lost or memory is wanted back.
        waiting: how many jobs wait behind that of the request. Called on the event loop.
        parked: bytes of host memory that hold the tenant's weights. Called on the event loop.
        clock: seconds on a monotonic clock.

    Raises:
        MilimoError: when the arbiter refuses the request; reason and fields are its own.
    """
    pause = _FIRST_PAUSE_S
    acquire_id = secrets.token_urlsafe(18)
    while True:
        asked_at = clock()
        answer = await ask(channel, request, acquire_id, on_queued)
        if answer.granted is not None:
            lease = Lease(request, answer.granted, measure=measure, parked=parked, on_change=on_change, clock=clock)
            if not answer.waited:
                # The answer to the request itself is as good as that to a heartbeat.
                lease.hold_since(asked_at)
            lease.start(channel, answer.call, waiting())
            try:
                await lease.answered()
            except BaseException:
                lease.release_soon()
                raise
            if lease.lost is None:
                return lease
            await lease.release()
        if not answer.broken:
            # A repeat of a request that was answered would be another one.
            acquire_id = secrets.token_urlsafe(18)
        on_queued(QueuePlace(position=0, reason="the arbiter does not answer"))
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)


async def withdraw(task: asyncio.Task[Lease]) -> None:
    """Takes a request back, also when the grant was faster."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, MilimoError):
        lease = await task
        await lease.release()


class Lease:
    """A lease that is held. Belongs to the event loop; `check`, `lost` and `wish` may be read from any thread."""

    def __init__(
        self,
        request: Claim,
        granted: arbiter_pb2.Granted,
        *,
        measure: Callable[[], int | None],
        parked: Callable[[], int],
        on_change: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._request = request
        self._measure = measure
        self._parked_bytes = parked
        self._on_change = on_change
        self._clock = clock
        self._ttl = granted.ttl.ToNanoseconds() / 1e9
        self._resume_token = granted.resume_token
        self._bytes = granted.bytes
        # Nothing relies on this before the first heartbeat is answered.
        self._valid_until = clock() + self._ttl
        self._lost: str | None = None
        self._told_lost = False
        self._wish: ReclaimWish | None = None
        self._job_id = request.job_id
        self._workload = request.workload
        self._waiting_jobs = 0
        self._sent: dict[int, float] = {}
        self._sequence = 0
        self._call: Call | None = None
        self._writing = asyncio.Lock()
        self._releasing: int | None = None
        # The answer to the latest `park`.
        self._parked: asyncio.Future[int] | None = None
        self._answered = asyncio.Event()
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.held_since = clock()
        self.grant = Grant(
            lease_id=granted.lease_id,
            device=granted.device,
            bytes=granted.bytes,
            grade=granted.footprint,
            best_grade=request.grades[0].name,
            fencing_token=granted.fencing_token,
        )

    @property
    def lost(self) -> str | None:
        """Why the lease is lost; None while it is held."""
        if self._lost is None and self._clock() >= self._valid_until:
            self._lost = f"the arbiter has not answered for {(1 - _MARGIN_OF_TTL) * self._ttl:.1f} s"
        return self._lost

    @property
    def bytes(self) -> int:
        """What is held: the grant, less what was given back."""
        return self._bytes

    @property
    def wish(self) -> ReclaimWish | None:
        """What the arbiter wants back."""
        return self._wish

    def check(self) -> None:
        """Raises LeaseLost when the device may no longer be used."""
        lost = self.lost
        if lost is not None:
            raise LeaseLost(f"lease {self.grant.lease_id} of {self._request.tenant} is lost: {lost}")

    def start(self, channel: grpc.aio.Channel, call: Call, waiting_jobs: int = 0) -> None:
        """Keeps the lease alive from now on, over this call and its successors."""
        self._call = call
        self._waiting_jobs = waiting_jobs
        self._tasks = [
            asyncio.create_task(self._converse(channel, call), name=f"lease {self.grant.lease_id}"),
            asyncio.create_task(self._keep_alive(), name=f"heartbeats of lease {self.grant.lease_id}"),
        ]

    def hold_since(self, asked_at: float) -> None:
        """The grant answered the request that was sent then: the lease is held, for as long as that allows."""
        self._valid_until = self._end_of(asked_at)
        self._answered.set()

    async def answered(self) -> None:
        """Waits until the arbiter has answered something: only then is the lease held, unless it is lost."""
        await self._answered.wait()

    async def busy(
        self, job_id: str, waiting_jobs: int, workload: Workload | None = None, *, peak_bytes: int = 0
    ) -> None:
        """A job's turn begins; `peak_bytes` was measured in the one before."""
        self._job_id, self._waiting_jobs, self._workload = job_id, waiting_jobs, workload
        await self._say_turn(peak_bytes)

    async def count_waiting(self, waiting_jobs: int) -> None:
        """The number of jobs behind the current turn changed; nothing when there is no turn."""
        if self._job_id:
            self._waiting_jobs = waiting_jobs
            await self._say_turn()

    async def idle(self, peak_bytes: int = 0) -> None:
        """The turn is over, in which so much was measured; the weights stay."""
        self._job_id, self._waiting_jobs = "", 0
        await self._say_turn(peak_bytes)

    async def shrink(self, size: int) -> None:
        """Gives freed bytes back; more than 0, less than held. A wish for as much is fulfilled."""
        if not 0 < size < self._bytes:
            raise ValueError(f"cannot give back {size} of {self._bytes} bytes")
        self._bytes -= size
        if self._wish is not None:
            left = self._wish.bytes - size
            self._wish = replace(self._wish, bytes=left) if left > 0 else None
        await self._write(arbiter_pb2.LeaseRequest(shrink=arbiter_pb2.Shrink(bytes=size)))

    async def park(self, size: int) -> int:
        """Asks for host memory in which to keep weights, 0 to give it back; bytes that are the tenant's from now on.

        0 when the lease is lost, or when no answer comes for a while.
        """
        if self.lost is not None:
            return 0
        self._parked = asyncio.get_running_loop().create_future()
        await self._write(arbiter_pb2.LeaseRequest(park=arbiter_pb2.Park(bytes=size)))
        try:
            async with asyncio.timeout(min(_PARK_S, self._ttl)):
                return await self._parked
        except TimeoutError:
            return 0

    async def report(self) -> None:
        """Sends a heartbeat now, with what is measured."""
        self._sequence += 1
        self._sent[self._sequence] = self._clock()
        await self._write(heartbeat(self._sequence, self._measure(), self._parked_bytes()))

    async def release(self, peak_bytes: int = 0, *, patience_s: float | None = None) -> bool:
        """Tells the arbiter that the memory is free, also after the lease was lost. Returns whether the arbiter knows.

        Without an answer for `patience_s` seconds, by default a TTL, it is told when it answers again.
        """
        self._releasing = peak_bytes
        with contextlib.suppress(TimeoutError):
            # Where even writing takes so long, the call is given up and another one is opened.
            async with asyncio.timeout(self._ttl if patience_s is None else patience_s):
                await self._say_release()
                await self._over.wait()
        return self._over.is_set()

    def release_soon(self) -> None:
        """Releases without being waited for."""

        async def released() -> None:
            await self.release()

        self._tasks.append(asyncio.create_task(released()))

    async def abandon(self) -> None:
        """Ends the conversation without a release, as if the process had died: the lease is lost at once."""
        self._lost = self._lost or "its holder has given it up"
        log.info("lease given up", extra={"action": "lease_given_up", "lease_id": self.grant.lease_id})
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._call is not None:
            self._call.cancel()

    async def _write(self, message: arbiter_pb2.LeaseRequest) -> None:
        """Says something if there is a connection. Whoever reads the stream notices when there is none."""
        async with self._writing:
            if self._call is not None:
                with contextlib.suppress(Broken, MilimoError):
                    await say(self._call, message)

    async def _say_turn(self, peak_bytes: int = 0) -> None:
        if self._job_id:
            await self._write(busy(self._job_id, self._waiting_jobs, self._workload, peak_bytes))
        else:
            await self._write(arbiter_pb2.LeaseRequest(idle=arbiter_pb2.Idle(peak_bytes=peak_bytes)))

    async def _say_release(self) -> None:
        await self._write(arbiter_pb2.LeaseRequest(release=arbiter_pb2.Release(peak_bytes=self._releasing or 0)))

    def _renew(self, sent_at: float) -> None:
        """A message that was sent at that time was answered. Never revives a lease that was lost meanwhile."""
        if self.lost is None:
            self._valid_until = max(self._valid_until, self._end_of(sent_at))
        self._answered.set()

    def _end_of(self, sent_at: float) -> float:
        """Until when a message allows to go on that was sent at that time and answered."""
        return sent_at + (1 - _MARGIN_OF_TTL) * self._ttl

    def _lose(self, reason: str) -> None:
        if not self._told_lost:
            self._told_lost = True
            self._lost = self._lost or reason
            log.warning(self._lost, extra={"action": "lease_lost", "lease_id": self.grant.lease_id})
        self._answered.set()
        self._on_change()

    async def _keep_alive(self) -> None:
        """Heartbeats while the lease is held; wakes up when it is lost for want of answers."""
        if self._waiting_jobs:
            # Before the heartbeat that confirms the lease: from then on the arbiter may ask for it back.
            await self._say_turn()
        # The grant may have been the answer to a first one.
        answered = self._answered.is_set()
        while not self._over.is_set():
            pause = max(0.0, min(self._ttl / _HEARTBEATS_PER_TTL, self._valid_until - self._clock()))
            with contextlib.suppress(TimeoutError):
                # Where even writing takes so long, the call is given up and another one is opened.
                async with asyncio.timeout(pause):
                    if not answered:
                        await self.report()
                    await self._over.wait()
            answered = False
            if self.lost is not None:
                self._lose(self.lost)
                return

    async def _converse(self, channel: grpc.aio.Channel, call: Call) -> None:
        """Reads the stream, and opens another one when it breaks, until the arbiter has recorded the end."""
        pause = _FIRST_PAUSE_S
        while True:
            if await self._read(call):
                pause = _FIRST_PAUSE_S
            self._call = None
            call.cancel()
            self._sent.clear()
            if self._over.is_set():
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            call = arbiter_pb2_grpc.MemoryArbiterStub(channel).Lease()
            # Answered by `granted`: as good as a heartbeat sent now.
            self._sent[0] = self._clock()
            with contextlib.suppress(Broken, MilimoError):
                await say(call, acquire_message(self._request, resume_token=self._resume_token))

    async def _read(self, call: Call) -> bool:
        """Handles replies until the stream ends; whether there were any."""
        heard = False
        try:
            while (reply := await next_reply(call)) is not None:
                heard = True
                await self._hear(call, reply)
        except Broken:
            return heard
        except MilimoError as error:
            # The arbiter refuses the lease: there is nothing to come back to.
            self._over.set()
            self._lose(error.message)
            return heard
        if self._lost is not None:
            # It ends a stream in peace when there is nothing more to say about the lease.
            self._over.set()
        return heard

    async def _hear(self, call: Call, reply: arbiter_pb2.LeaseResponse) -> None:
        match reply.WhichOneof("message"):
            case "renewed":
                sent_at = self._sent.pop(reply.renewed.sequence, None)
                if sent_at is not None:
                    self._renew(sent_at)
            case "granted":
                self._renew(self._sent.pop(0, self._valid_until))
                self._call = call
                self._wish = None
                if self._releasing is not None:
                    await self._say_release()
                    return
                if reply.granted.bytes > self._bytes:
                    lesser = arbiter_pb2.Shrink(bytes=reply.granted.bytes - self._bytes)
                    await self._write(arbiter_pb2.LeaseRequest(shrink=lesser))
                await self._say_turn()
            case "reclaim_requested":
                wish = reply.reclaim_requested
                deadline = self._clock() + wish.deadline.ToNanoseconds() / 1e9
                self._wish = ReclaimWish(bytes=wish.bytes, deadline=deadline, reason=wish.reason)
                self._on_change()
            case "parked":
                if self._parked is not None and not self._parked.done():
                    self._parked.set_result(reply.parked.bytes)
            case "revoked":
                self._call = call
                self._lose(reply.revoked.reason)
                if self._releasing is not None:
                    await self._say_release()
            case "released":
                self._over.set()
