"""Where a reader stands in a job's events: what both twins of the watch share. Knows no network and no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from milimo.errors import MilimoError
from milimo.v1 import jobs_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

FINAL_STATES: Final = frozenset(
    {
        jobs_pb2.JOB_STATE_SUCCEEDED,
        jobs_pb2.JOB_STATE_FAILED,
        jobs_pb2.JOB_STATE_CANCELLED,
    }
)


def has_ended(job: jobs_pb2.Job) -> bool:
    """Whether nothing can happen to the job any more."""
    return job.state in FINAL_STATES


class EventGap(MilimoError):
    """A stream left out a durable event; the watch begins again after the last one that came."""

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(grpc.StatusCode.DATA_LOSS, f"event {found} came where {expected} was due", reason="EVENT_GAP")

    @property
    def is_transient(self) -> bool:
        """Always: the event is kept, and asking again brings it."""
        return True


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a watch tries to connect again before it gives up: about a minute by default.

    Pauses begin with `first` seconds and double up to `longest`; an event that comes starts the count anew.
    """

    tries: int = 32
    first: float = 0.05
    longest: float = 2.0

    def pauses(self) -> Iterator[float]:
        """Seconds to wait before each try."""
        pause = self.first
        for _ in range(self.tries):
            yield pause
            pause = min(pause * 2, self.longest)


class JobCursor:
    """Passes every durable event on exactly once, whatever the streams repeat."""

    def __init__(self, job_id: str, after_sequence: int = 0) -> None:
        self.job_id = job_id
        self.sequence = after_sequence
        self.ended = False

    def request(self, *, previews: bool) -> jobs_pb2.WatchJobRequest:
        """Asks for what has not been seen."""
        return jobs_pb2.WatchJobRequest(job_id=self.job_id, after_sequence=self.sequence, previews=previews)

    def accept(self, event: jobs_pb2.JobEvent) -> bool:
        """Whether the event is news.

        Raises:
            EventGap: when a durable event was left out before it.
        """
        snapshot = event.HasField("snapshot")
        if not (event.durable or snapshot):
            return event.sequence >= self.sequence and not self.ended
        sequence = max(event.sequence, event.snapshot.job.last_sequence) if snapshot else event.sequence
        if not snapshot and sequence > self.sequence + 1:
            raise EventGap(self.sequence + 1, sequence)
        news = sequence > self.sequence
        self.sequence = max(self.sequence, sequence)
        self.ended = self.ended or event.state in FINAL_STATES
        return news

    def is_complete(self, job: jobs_pb2.Job) -> bool:
        """Whether the job has ended and all its durable events were seen."""
        return has_ended(job) and job.last_sequence <= self.sequence
