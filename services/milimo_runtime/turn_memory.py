"""What a process's turns need of the device, as measured: the arbiter learns from it, and what is spare can go."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from milimo_runtime.lease_terms import Grade, Workload

# A need is known of so many workloads, and a lease should do for so many of the latest turns.
_NEEDS: Final = 256
_RECENT: Final = 8
# What is kept beyond a measured peak: as much as the arbiter adds to it.
_MARGIN: Final = 0.05


class TurnMemory:
    """Measures turns, one at a time. A peak is told once; what was learned of it here is kept as long as the process.

    Used by whoever has the turn; `used` may be called at any time.
    """

    def __init__(
        self,
        measure: Callable[[], int | None] = lambda: None,
        *,
        begin_peak: Callable[[], None] = lambda: None,
        peak: Callable[[], int | None] = lambda: None,
    ) -> None:
        """Nothing is known yet.

        Args:
            measure: bytes on the device that the tenant's allocator has now; None when it cannot tell. Must be quick.
            begin_peak: a turn begins whose peak is wanted.
            peak: the most bytes that the allocator had since then; None when it cannot tell.
        """
        self._measure = measure
        self._begin_peak = begin_peak
        self._peak = peak
        self._needs: OrderedDict[tuple[Workload, str], int] = OrderedDict()
        self._recent: deque[Workload] = deque(maxlen=_RECENT)
        # Those for which the arbiter has no more than it granted.
        self._capped: set[tuple[Workload, str]] = set()
        self._running: tuple[Workload, str] | None = None
        self._untold = 0

    def used(self) -> int | None:
        """Bytes on the device now; None when that cannot be measured."""
        return self._measure()

    def claimed(self, workload: Workload | None) -> Workload | None:
        """The workload to name in a request whose first turn computes `workload`.

        Weights should not have to be loaded again for the second turn, so it is the largest of the latest that is known
        to need more.
        """
        if workload is None:
            return None
        need = self._largest_need(workload)
        if need is None:
            return workload
        return max((workload, *self._recent), key=lambda one: self._largest_need(one) or 0)

    def _largest_need(self, workload: Workload) -> int | None:
        return max((size for (one, _), size in self._needs.items() if one == workload), default=None)

    def granted(self, workload: Workload | None, grade: Grade, size: int) -> None:
        """So much was granted for the workload."""
        if workload is None:
            return
        key = (workload, grade.name)
        known = self._needs.get(key)
        if known is None:
            if size != grade.bytes:
                # The arbiter has learned it from an earlier process.
                self._remember(key, size)
        elif size < known:
            self._capped.add(key)

    def fits(self, workload: Workload | None, grade: Grade, size: int) -> bool:
        """Whether a turn can do with a lease of `size` bytes, as far as is known."""
        if workload is None:
            return size >= grade.bytes
        key = (workload, grade.name)
        return key in self._capped or size >= self._needs.get(key, grade.bytes)

    def begin(self, workload: Workload | None, grade: str) -> None:
        """A turn begins: from now on its peak is measured."""
        self._running = None if workload is None else (workload, grade)
        if workload is not None:
            self._recent.append(workload)
            self._begin_peak()

    def end(self, *, complete: bool) -> None:
        """The turn is over. One that was not `complete` has not shown what it needs."""
        running = self._running
        peak = self._peak() if complete and running is not None else None
        if running is None or not peak:
            return
        self._remember(running, peak)
        self._untold = peak

    def take_peak(self) -> int:
        """The peak of the turn that ended last, in bytes, once: 0 when it was told or not measured."""
        peak, self._untold = self._untold, 0
        return peak

    def spare(self, size: int) -> int:
        """Bytes of a lease of `size` bytes that the turn, or the next one like the last, can do without."""
        need = None if self._running is None else self._needs.get(self._running)
        return 0 if need is None else max(0, size - math.ceil(need * (1 + _MARGIN)))

    def _remember(self, key: tuple[Workload, str], need: int) -> None:
        self._needs[key] = need
        self._needs.move_to_end(key)
        if len(self._needs) > _NEEDS:
            self._needs.popitem(last=False)
