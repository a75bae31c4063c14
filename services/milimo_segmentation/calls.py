"""The calls of this process: each in a thread of its own, at most so many, and not with too many pixels in memory.

A call waits for its turn in its thread, for minutes when others have the memory. Threads that the process needs for
other things (the database, files) are not theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from milimo_runtime.errors import ResourceExhausted

from milimo_segmentation import defaults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

T = TypeVar("T")


class Calls:
    """Threads for calls, and what these have in memory together."""

    def __init__(self, *, calls: int = defaults.CALLS, pixels: int = defaults.WAITING_PIXELS) -> None:
        self._threads = ThreadPoolExecutor(max_workers=calls, thread_name_prefix="call")
        # A thread that still leaves its queue counts, also when its caller has gone.
        self._free = threading.BoundedSemaphore(calls)
        self._lock = threading.Lock()
        self._pixels_bound = pixels
        self._pixels = 0
        self._encoding = threading.BoundedSemaphore(defaults.ENCODING_CALLS)

    async def run(self, work: Callable[[], T]) -> T:
        """Does `work` in a thread. When this is cancelled the work goes on to its end, and counts until then.

        Raises:
            ResourceExhausted: too many calls are at work already.
        """
        if not self._free.acquire(blocking=False):
            raise ResourceExhausted(
                "too many segmentations wait for the accelerator already",
                reason="QUEUE_FULL",
                retry_after_s=defaults.RETRY_SECONDS,
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

    @contextlib.contextmanager
    def holding(self, pixels: int) -> Iterator[None]:
        """Counts the pixels of a decoded image while its call is at work.

        Raises:
            ResourceExhausted: those of the other calls leave no room for it.
        """
        with self._lock:
            if self._pixels and self._pixels + pixels > self._pixels_bound:
                raise ResourceExhausted(
                    f"images of {self._pixels / 1e6:g} megapixels wait for the accelerator already",
                    reason="QUEUE_FULL",
                    retry_after_s=defaults.RETRY_SECONDS,
                )
            self._pixels += pixels
        try:
            yield
        finally:
            with self._lock:
                self._pixels -= pixels

    @contextlib.contextmanager
    def encoding(self) -> Iterator[None]:
        """Waits until masks may be made at full size, and lets no more than a few calls do that at once."""
        with self._encoding:
            yield

    async def close(self) -> None:
        """Waits for the threads: the calls must have been told to end."""
        await asyncio.to_thread(self._threads.shutdown)


def _looked_at(ended: asyncio.Future[T]) -> None:
    if not ended.cancelled():
        ended.exception()


@contextlib.asynccontextmanager
async def open_calls() -> AsyncIterator[Calls]:
    """Threads for the calls of this process; at the end they are waited for, the event loop running on."""
    calls = Calls()
    try:
        yield calls
    finally:
        await calls.close()
