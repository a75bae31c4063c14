"""The jobs of one process that wait for the same weights. Pure: whoever uses it brings the lock."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

from milimo_runtime.lease_terms import Priority, QueuePlace


@dataclass(order=True)
class LocalWaiter:
    """A job that waits, and what it was told last; smaller is served first."""

    order: tuple[int, int]
    job_id: str = field(compare=False)
    told: QueuePlace | None = field(default=None, compare=False)
    # It should look up at once, whatever its place.
    woken: bool = field(default=False, compare=False)


class LocalQueue:
    """In order of priority, then of arrival."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._waiters: list[LocalWaiter] = []
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._waiters)

    def add(self, job_id: str, priority: Priority) -> LocalWaiter:
        """A job comes."""
        waiter = LocalWaiter(order=(-priority, self._arrivals), job_id=job_id)
        self._arrivals += 1
        bisect.insort(self._waiters, waiter)
        return waiter

    def remove(self, waiter: LocalWaiter) -> None:
        """A job has its turn, or goes."""
        self._waiters.remove(waiter)

    def wake(self, job_id: str) -> None:
        """Has the job look up, if it waits."""
        for waiter in self._waiters:
            if waiter.job_id == job_id:
                waiter.woken = True

    def is_next(self, waiter: LocalWaiter) -> bool:
        """Whether nobody is ahead."""
        return self._waiters[0] is waiter

    def place(self, waiter: LocalWaiter, current: str | None) -> QueuePlace:
        """Where the job stands while `current` has its turn."""
        reason = f"{self._tenant} changes jobs" if current is None else f"{self._tenant} is busy on job {current}"
        return QueuePlace(position=self._waiters.index(waiter) + 1, reason=reason)
