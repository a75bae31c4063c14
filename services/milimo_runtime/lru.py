"""A cache that forgets what was used longest ago when its bytes run out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")


class ByteBoundedCache(Generic[K, V]):
    """A least-recently-used cache bounded by the bytes of its values. Safe to share between threads.

    `size_of` gives the bytes of a value, which must not change while it is cached. A value larger than the bound is not
    kept. No lock is held while a missing value is computed: two threads that miss together compute it twice.
    """

    def __init__(self, *, max_bytes: int, size_of: Callable[[V], int]) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes is {max_bytes}; expected 0 or more")
        self.max_bytes = max_bytes
        self._size_of = size_of
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """Bytes of the values that are cached now, ≤ `max_bytes`."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value of `key`, which is now the one used last; `None` when it is not cached."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: K, value: V) -> None:
        """Caches `value`, forgetting the least recently used ones until it fits."""
        size = self._size_of(value)
        with self._lock:
            self._forget(key)
            if size > self.max_bytes:
                return
            while self._bytes + size > self.max_bytes:
                self._forget(next(iter(self._entries)))
            self._entries[key] = (value, size)
            self._bytes += size

    def get_or_compute(self, key: K, compute: Callable[[], V]) -> V:
        """The cached value of `key`, or the computed one, which is then cached."""
        cached = self.get(key)
        if cached is not None:
            return cached
        value = compute()
        self.put(key, value)
        return value

    def clear(self) -> None:
        """Forgets everything, for example because the memory belongs to somebody else now."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def _forget(self, key: K) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry[1]
