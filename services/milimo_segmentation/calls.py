"""The calls of this process: threads of their own, and not too many pixels in memory together."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from milimo_runtime.calls import RETRY_SECONDS, Calls, closing_calls
from milimo_runtime.errors import ResourceExhausted

from milimo_segmentation import defaults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager


class SegmentationCalls(Calls):
    """Threads for calls, and what these have in memory together."""

    def __init__(self, *, calls: int = defaults.CALLS, pixels: int = defaults.WAITING_PIXELS) -> None:
        super().__init__(calls=calls, what="segmentations")
        self._lock = threading.Lock()
        self._pixels_bound = pixels
        self._pixels = 0
        self._encoding = threading.BoundedSemaphore(defaults.ENCODING_CALLS)

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
                    retry_after_s=RETRY_SECONDS,
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


def open_calls() -> AbstractAsyncContextManager[SegmentationCalls]:
    """Threads for the calls of this process; at the end they are waited for, the event loop running on."""
    return closing_calls(SegmentationCalls())
