"""Gives memory back for real: what Python has dropped is not free before the allocators let go of it."""

from __future__ import annotations

import ctypes
import gc
import sys


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
