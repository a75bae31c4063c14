"""Host memory that the arbiter lends for parked weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from milimo_runtime.lease import Lease


class HostMemory:
    """What one tenant of this process has of it. Used by whoever has the turn; it outlives the leases."""

    def __init__(self, on_loop: Callable[[Coroutine[None, None, int]], int]) -> None:
        """Nothing is lent yet; `on_loop` has the leases' event loop do something, and waits for it."""
        self._on_loop = on_loop
        self._bytes = 0

    def borrow(self, lease: Lease, size: int) -> int:
        """Asks for so many bytes; those that the arbiter lends, 0 when it does not answer."""
        granted = self._on_loop(lease.park(size))
        self._bytes = max(self._bytes, granted)
        return granted

    def settle(self, lease: Lease, parked_bytes: int) -> None:
        """Gives everything back when it holds no weights any more."""
        if self._bytes and not parked_bytes:
            self._bytes = 0
            self._on_loop(lease.park(0))
