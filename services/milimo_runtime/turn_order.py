"""Whose turn it is among the jobs of one process that share weights."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from milimo_runtime.lease_terms import LeaseLost, Priority, QueuePlace
from milimo_runtime.lease_wait import PATIENCE_S
from milimo_runtime.local_queue import LocalQueue, LocalWaiter

if TYPE_CHECKING:
    from collections.abc import Callable

# Stands for a job while weights are dropped that nobody uses.
_HOUSEKEEPING: Final = "housekeeping"


class TurnOrder:
    """One job at a time is the current one; the others wait in threads of their own."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        # Guards everything here, and whatever else its user changes between turns. Nothing is awaited and no callback
        # is called while it is held.
        self.condition = threading.Condition()
        self._waiters = LocalQueue(tenant)
        self._current: str | None = None
        # Whether the current job was woken: it may wait for the arbiter.
        self._woken = False
        self._closed = False

    @property
    def waiting(self) -> int:
        """Jobs that wait for their turn."""
        with self.condition:
            return len(self._waiters)

    @property
    def closed(self) -> bool:
        """Whether no turn begins any more."""
        return self._closed

    def check_open(self) -> None:
        """Raises LeaseLost when no turn begins any more."""
        if self._closed:
            raise LeaseLost(f"{self._tenant} is shutting down")

    def wake(self, job_id: str) -> None:
        """Has a job that waits look up at once; nothing comes of it when it does not wait."""
        with self.condition:
            self._waiters.wake(job_id)
            if self._current == job_id:
                self._woken = True
            self.condition.notify_all()

    def roused(self) -> bool:
        """Whether the current job was woken since the last time, or everybody. The condition is held."""
        woken, self._woken = self._woken, False
        return woken or self._closed

    def take(
        self,
        job_id: str,
        priority: Priority,
        on_waiting: Callable[[QueuePlace], None],
        on_queued: Callable[[], None],
    ) -> None:
        """Returns when the job is the current one.

        Args:
            job_id: of the job.
            priority: order among those who wait.
            on_waiting: called with each new place and when the job was woken. What it raises leaves the queue.
            on_queued: called once, when the job waits.

        Raises:
            LeaseLost: no turn begins any more.
        """
        with self.condition:
            waiter = self._waiters.add(job_id, priority)
            self.condition.notify_all()
        try:
            on_queued()
            while True:
                with self.condition:
                    if self._takes(waiter):
                        return
                    place = self._waiters.place(waiter, self._current)
                    if place == waiter.told and not waiter.woken:
                        self.condition.wait(PATIENCE_S)
                        if self._takes(waiter):
                            return
                    waiter.told = place
                    waiter.woken = False
                on_waiting(place)
        except BaseException:
            with self.condition:
                self._waiters.remove(waiter)
                self.condition.notify_all()
            raise

    def _takes(self, waiter: LocalWaiter) -> bool:
        """Makes the waiter's job the current one if it is its turn. The condition is held."""
        self.check_open()
        if self._current is not None or not self._waiters.is_next(waiter):
            return False
        self._waiters.remove(waiter)
        self._current = waiter.job_id
        self._woken = waiter.woken
        # Those behind it have a new place.
        self.condition.notify_all()
        return True

    def keep_house(self) -> None:
        """Makes housekeeping of the current turn."""
        with self.condition:
            self._current = _HOUSEKEEPING

    def begin_housekeeping(self, *, unless_wanted: bool = False) -> bool:
        """Takes a turn for housekeeping if nobody has one; with `unless_wanted` not if a job waits for it either."""
        with self.condition:
            if self._current is not None or (unless_wanted and len(self._waiters)):
                return False
            self._current = _HOUSEKEEPING
            return True

    def end(self) -> None:
        """The current turn is over."""
        with self.condition:
            self._current = None
            self.condition.notify_all()

    def close(self) -> None:
        """No turn begins any more; jobs that wait get LeaseLost."""
        with self.condition:
            self._closed = True
            self.condition.notify_all()

    def wait_until_free(self, seconds: float) -> bool:
        """Waits until nobody has a turn, so long at most; whether nobody has."""
        with self.condition:
            return self.condition.wait_for(lambda: self._current is None, max(0.0, seconds))
