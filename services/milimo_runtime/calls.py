"""Calls that use a model and answer at once, without a job: each in a thread of its own, at most so many.

A call waits for its turn in its thread, for minutes when others have the memory. Threads that the process needs for
other things (the database, files) are not theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from milimo_runtime.errors import ResourceExhausted, Unavailable
from milimo_runtime.lease_terms import LeaseLost, Priority
from milimo_runtime.observer import JobCancelled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from milimo_runtime.lease_terms import QueuePlace
    from milimo_runtime.residency import Residency
    from milimo_runtime.turn import Turn

M = TypeVar("M")
R = TypeVar("R")
T = TypeVar("T")
C = TypeVar("C", bound="Calls")

# After this many seconds a refused call is worth another try.
RETRY_SECONDS: Final = 1.0


class Waiter:
    """A call as it waits in a residency's queue: its caller may go away."""

    def __init__(self) -> None:
        self.id = f"call-{uuid.uuid4().hex}"
        self._gone = threading.Event()
        self._residency: Residency[Any] | None = None

    def at(self, residency: Residency[M]) -> Residency[M]:
        """Says where it is about to wait."""
        self._residency = residency
        # Whoever left before this woke nobody.
        self.check()
        return residency

    def leave(self) -> None:
        """The caller went away: the call ends when it waits, else when its work looks up the next time."""
        self._gone.set()
        if self._residency is not None:
            self._residency.wake(self.id)

    def check(self) -> None:
        """Raises JobCancelled when the caller went away. Costs less than a microsecond."""
        if self._gone.is_set():
            raise JobCancelled

    def on_waiting(self, place: QueuePlace) -> None:
        """Called by the residency with each place."""
        self.check()


class Calls:
    """Threads for the calls of a process."""

    def __init__(self, *, calls: int, what: str) -> None:
        """At most `calls` at once; `what` they are stands in the refusal of one more, such as "segmentations"."""
        self._what = what
        self._threads = ThreadPoolExecutor(max_workers=calls, thread_name_prefix="call")
        # A thread that still leaves its queue counts, also when its caller has gone.
        self._free = threading.BoundedSemaphore(calls)

    async def answer(self, work: Callable[[Waiter], R]) -> R:
        """Does the work of a call in its thread; when the caller goes away, it leaves the queue.

        Raises:
            ResourceExhausted: too many calls are at work already.
        """
        waiter = Waiter()
        answered = False
        try:
            answer = await self._run(lambda: work(waiter))
            answered = True
        finally:
            if not answered:
                waiter.leave()
        return answer

    async def _run(self, work: Callable[[], T]) -> T:
        """Does `work` in a thread. When this is cancelled the work goes on to its end, and counts until then."""
        if not self._free.acquire(blocking=False):
            raise ResourceExhausted(
                f"too many {self._what} wait for the accelerator already",
                reason="QUEUE_FULL",
                retry_after_s=RETRY_SECONDS,
            )

        def counted() -> T:
            try:
                return work()
            finally:
                self._free.release()

        try:
            future = self._threads.submit(counted)
        except BaseException:
            self._free.release()
            raise
        # Never waits in the executor's queue: there is a thread for each that counts. Shielded, so that nobody takes
        # it out of that queue before it has begun, and its place with it.
        ended = asyncio.wrap_future(future)
        # What becomes of it when nobody waits any more is nobody's business, and no mistake.
        ended.add_done_callback(_looked_at)
        return await asyncio.shield(ended)

    async def close(self) -> None:
        """Waits for the threads: the calls must have been told to end."""
        await asyncio.to_thread(self._threads.shutdown)


def on_a_turn(residency: Residency[M], waiter: Waiter, work: Callable[[Turn[M]], R]) -> R:
    """Does `work` on a turn of its own, with high priority: somebody waits for the answer. In the call's thread.

    Raises:
        Unavailable: the memory was taken away meanwhile; nothing was done.
        JobCancelled: the caller went away.
    """
    try:
        with waiter.at(residency).turn(waiter.id, Priority.HIGH, waiter.on_waiting) as turn:
            waiter.check()
            return turn.with_room(lambda: work(turn))
    except LeaseLost as error:
        raise Unavailable(
            f"the accelerator's memory was taken away during the call: {error}",
            reason="LEASE_LOST",
            retry_after_s=RETRY_SECONDS,
        ) from error


def _looked_at(ended: asyncio.Future[T]) -> None:
    if not ended.cancelled():
        ended.exception()


@contextlib.asynccontextmanager
async def closing_calls(calls: C) -> AsyncIterator[C]:
    """The threads for the calls of this process; at the end they are waited for, the event loop running on."""
    try:
        yield calls
    finally:
        await calls.close()
