"""Gives memory back for real: what Python has dropped is not free before the allocators let go of it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import inspect
import sys
import threading
import time
import weakref
from typing import Final

# How often it is looked whether the frames that a failure went through have ended, in seconds.
_LOOK_S: Final = 0.05


def give_back() -> None:
    """Collects garbage and empties the caches of the allocators in use. Imports nothing heavy that is not there."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None:
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        if torch.backends.mps.is_available():
            torch.mps.empty_cache()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        # Only glibc keeps freed pages and has the call.
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)


def clear_ended_frames(error: BaseException) -> None:
    """Forgets the variables that an exception keeps alive, of every function that it has left.

    Unlike `traceback.clear_frames` it leaves generators and coroutines alone: one that caught the exception and is
    suspended now would be closed.
    """
    suspendable = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
    place = error.__traceback__
    while place is not None:
        if not place.tb_frame.f_code.co_flags & suspendable:
            # A frame that still runs refuses.
            with contextlib.suppress(RuntimeError):
                place.tb_frame.clear()
        place = place.tb_next


class Departure:
    """Something large on its way out: gone when nobody refers to it any more."""

    def __init__(self, thing: object) -> None:
        self._gone = threading.Event()
        self._watch: weakref.ref[object] | None = None
        if thing is None:
            self._gone.set()
            return
        try:
            self._watch = weakref.ref(thing, lambda _: self._gone.set())
        except TypeError:
            # Plain containers cannot be watched; whoever loads such a thing has to see to it.
            self._gone.set()

    @property
    def gone(self) -> bool:
        """Whether the last reference is."""
        return self._gone.is_set()

    def wait(self, seconds: float, error: BaseException | None = None) -> bool:
        """Waits until it is gone, so long at most; whether it is.

        `error` is the failure in which it was in use, if there was one: see `clear_ended_frames`.
        """
        until = time.monotonic() + seconds
        while not self._gone.wait(min(_LOOK_S, max(0.0, until - time.monotonic()))):
            if time.monotonic() >= until:
                return False
            if error is not None:
                clear_ended_frames(error)
            gc.collect()
        return True
