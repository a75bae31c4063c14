"""How many jobs a process has, by kind and state: for its metrics."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from milimo_runtime import metrics
from milimo_runtime.jobs import JobKind, JobState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from milimo_runtime.jobs import Job

_WAITING = (JobState.QUEUED, JobState.WAITING_FOR_LEASE)


class JobTally:
    """Counts in memory what the rows say. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[JobKind, JobState]] = {}
        # Pairs that nobody is in any more stay, as zeros: a level that is told no more would seem to last.
        self._counts: Counter[tuple[JobKind, JobState]] = Counter()

    def export(self) -> None:
        """Makes the tally part of the process's metrics."""
        metrics.observe(metrics.JOBS, self.by_kind_and_state)
        metrics.observe(metrics.QUEUE_DEPTH, lambda: [(self.waiting, {})])

    @property
    def waiting(self) -> int:
        """Jobs that wait for their turn or for memory."""
        with self._lock:
            return sum(number for (_, state), number in self._counts.items() if state in _WAITING)

    def by_kind_and_state(self) -> Sequence[tuple[int, Mapping[str, str]]]:
        """The numbers of open jobs, with their attributes."""
        with self._lock:
            return [
                (number, {metrics.JOB_KIND: kind.value, metrics.JOB_STATE: state.value})
                for (kind, state), number in self._counts.items()
            ]

    def reached(self, job: Job, state: JobState) -> None:
        """An open job is in that state now."""
        with self._lock:
            self._forget(job.id)
            self._open[job.id] = (job.kind, state)
            self._counts[job.kind, state] += 1

    def ended(self, job: Job, state: JobState) -> None:
        """A job came to its end here."""
        self.left(job.id)
        metrics.jobs_ended.add(1, {metrics.JOB_KIND: job.kind.value, metrics.JOB_STATE: state.value})

    def left(self, job_id: str) -> None:
        """A job is no longer this process's."""
        with self._lock:
            self._forget(job_id)

    def _forget(self, job_id: str) -> None:
        known = self._open.pop(job_id, None)
        if known is not None:
            self._counts[known] -= 1
