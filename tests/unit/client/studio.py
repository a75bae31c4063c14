"""What the server of these tests knows: projects, assets and jobs in memory, and the failures it was told of."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import timestamp_pb2
from grpc_status import rpc_status
from milimo.v1 import assets_pb2, jobs_pb2, projects_pb2
from milimo_runtime.statuses import to_status

if TYPE_CHECKING:
    from google.rpc import status_pb2
    from milimo_runtime.errors import MilimoError


PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"


def abort(context: grpc.ServicerContext, error: MilimoError) -> None:
    """Answers with the error as the services do."""
    context.abort_with_status(rpc_status.to_status(to_status(error)))


class Studio:
    """What the server knows, and what a test tells it to do."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        self.projects: dict[str, projects_pb2.Project] = {}
        self.assets: dict[str, tuple[assets_pb2.Asset, bytes]] = {}
        self.events: dict[str, list[jobs_pb2.JobEvent]] = {}
        self.jobs: dict[str, jobs_pb2.Job] = {}
        # Requests as they came, by method.
        self.requests: dict[str, list[Any]] = {}
        # The next call of a method fails with this.
        self.failures: dict[str, MilimoError | grpc.StatusCode] = {}
        # Each stream of a job breaks after so many messages; when none are left, streams run to their end.
        self.cuts: deque[int] = deque()
        # How a stream that is cut ends: None means in good order.
        self.cut_code: grpc.StatusCode | None = grpc.StatusCode.UNAVAILABLE
        # Events that a resumed stream repeats, as a server at fault would.
        self.repeats = 0
        # Each download breaks after so many pieces.
        self.download_cuts: deque[int] = deque()
        self.outcome = jobs_pb2.JOB_STATE_SUCCEEDED
        self.error: status_pb2.Status | None = None
        # A job that is told to hang sends its first events and then nothing.
        self.hang = threading.Event()
        self.upload_pieces: list[int] = []
        # Processes that are about to end.
        self.draining: set[str] = set()

    def new_id(self, kind: str) -> str:
        return f"{kind}-{next(self.numbers)}"

    def record(self, method: str, request: Any, context: grpc.ServicerContext) -> None:
        """Remembers the call; fails it when that was asked for."""
        self.requests.setdefault(method, []).append(request)
        failure = self.failures.pop(method, None)
        if isinstance(failure, grpc.StatusCode):
            context.abort(failure, f"the call was told to fail with {failure.name}")
        elif failure is not None:
            abort(context, failure)

    def add_asset(self, project_id: str, data: bytes, media_type: str, **fields: Any) -> assets_pb2.Asset:
        asset = assets_pb2.Asset(
            id=self.new_id("asset"),
            project_id=project_id,
            media_type=media_type,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            **fields,
        )
        self.assets[asset.id] = (asset, data)
        return asset

    def add_job(
        self,
        project_id: str,
        results: list[assets_pb2.Asset],
        kind: jobs_pb2.JobKind.ValueType = jobs_pb2.JOB_KIND_VIDEO,
    ) -> jobs_pb2.Job:
        """A job with the events of a whole life; it ends as `outcome` says."""
        job = jobs_pb2.Job(
            id=self.new_id("job"),
            kind=jobs_pb2.JOB_KIND_VIDEO,
            state=jobs_pb2.JOB_STATE_QUEUED,
            subject=jobs_pb2.JobSubject(project_id=project_id),
            created_at=timestamp_pb2.Timestamp(seconds=1_800_000_000),
        )
        event = jobs_pb2.JobEvent
        waiting, running = jobs_pb2.JOB_STATE_WAITING_FOR_LEASE, jobs_pb2.JOB_STATE_RUNNING
        queued = event.QueuePosition(position=2, reason="image is busy")
        queued.eta.FromSeconds(12)
        progress = event.Progress(stage="stage_1", step=3, steps=8, fraction=0.4)
        progress.eta.FromSeconds(75)
        rounded = event.Notice(code="SIZE_ROUNDED", text="the size was rounded")
        made: list[dict[str, Any]] = [
            {"durable": True, "state": jobs_pb2.JOB_STATE_QUEUED, "accepted": event.Accepted(job=job)},
            {"durable": True, "state": waiting, "state_changed": event.StateChanged(attempt=1)},
            {"state": waiting, "queue_position": queued},
            {"durable": True, "state": running, "state_changed": event.StateChanged(attempt=1)},
            {
                "durable": True,
                "state": running,
                "notice": rounded,
            },
            {"state": running, "progress": progress},
        ]
        if self.outcome == jobs_pb2.JOB_STATE_SUCCEEDED:
            made += [
                {"durable": True, "state": running, "artefact_committed": event.ArtefactCommitted(asset=asset)}
                for asset in results
            ]
        if self.outcome == jobs_pb2.JOB_STATE_FAILED:
            assert self.error is not None
            made.append({"durable": True, "state": self.outcome, "failed": event.Failed(error=self.error)})
        else:
            made.append({"durable": True, "state": self.outcome, "state_changed": event.StateChanged(attempt=1)})
        sequence, events = 0, []
        for fields in made:
            sequence += 1 if fields.get("durable") else 0
            events.append(event(job_id=job.id, sequence=sequence, **fields))
        self.events[job.id] = events
        ended = jobs_pb2.Job()
        ended.CopyFrom(job)
        ended.state = self.outcome
        ended.last_sequence = sequence
        if self.outcome == jobs_pb2.JOB_STATE_SUCCEEDED:
            ended.assets.extend(results)
            ended.fraction = 1.0
        if self.error is not None and self.outcome == jobs_pb2.JOB_STATE_FAILED:
            ended.error.CopyFrom(self.error)
        self.jobs[job.id] = ended
        return job
