"""Jobs and their events as messages of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2
from milimo.v1 import assets_pb2, common_pb2, jobs_pb2

from milimo_runtime import jobs
from milimo_runtime.assets import Asset, AssetKind
from milimo_runtime.failures import status_of
from milimo_runtime.job_rows import as_accepted
from milimo_runtime.lease_terms import Priority

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

STATES: Final = {state: jobs_pb2.JobState.Value(f"JOB_STATE_{state.name}") for state in jobs.JobState}
KINDS: Final = {kind: jobs_pb2.JobKind.Value(f"JOB_KIND_{kind.name}") for kind in jobs.JobKind}
ASSET_KINDS: Final = {kind: assets_pb2.AssetKind.Value(f"ASSET_KIND_{kind.name}") for kind in AssetKind}


def timestamp(value: datetime | None) -> timestamp_pb2.Timestamp | None:
    """The time as a message."""
    if value is None:
        return None
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(value)
    return message


def duration(seconds: float | None) -> duration_pb2.Duration | None:
    """Seconds as a message."""
    if seconds is None:
        return None
    message = duration_pb2.Duration()
    message.FromNanoseconds(int(seconds * 1e9))
    return message


def struct(value: Mapping[str, Any]) -> struct_pb2.Struct:
    """A JSON object as a message."""
    message = struct_pb2.Struct()
    message.update(dict(value))
    return message


def priority(value: int) -> Priority:
    """The priority that a request asks for; NORMAL when it does not."""
    return Priority(value or Priority.NORMAL)


def asset_message(asset: Asset) -> assets_pb2.Asset:
    """An asset; its file's place in the store shows only as the gateway's path."""
    return assets_pb2.Asset(
        id=asset.id,
        project_id=asset.project_id,
        kind=ASSET_KINDS[asset.kind],
        name=asset.name,
        media_type=asset.media_type,
        width=asset.width,
        height=asset.height,
        num_frames=asset.num_frames,
        fps=asset.fps,
        duration_seconds=asset.duration_seconds,
        bytes=asset.bytes,
        sha256=asset.sha256,
        job_id=asset.job_id,
        parameters=struct(asset.parameters),
        created_at=timestamp(asset.created_at),
        url=f"/media/{asset.key}",
        thumbnail_url=f"/media/{asset.thumbnail_key}" if asset.thumbnail_key else "",
    )


def subject_message(subject: jobs.Subject) -> jobs_pb2.JobSubject:
    """What the job is about."""
    return jobs_pb2.JobSubject(project_id=subject.project_id, shot_id=subject.shot_id, element_id=subject.element_id)


def job_message(job: jobs.Job) -> jobs_pb2.Job:
    """A job."""
    return jobs_pb2.Job(
        id=job.id,
        kind=KINDS[job.kind],
        subject=subject_message(job.subject),
        state=STATES[job.state],
        priority=common_pb2.Priority.ValueType(int(job.priority)),
        attempt=job.attempt,
        created_at=timestamp(job.created_at),
        started_at=timestamp(job.started_at),
        ended_at=timestamp(job.ended_at),
        last_sequence=job.last_sequence,
        assets=[asset_message(asset) for asset in job.assets],
        error=None if job.failure is None else status_of(job.failure),
        retry_of=job.retry_of,
        cancel_requested=job.cancel_requested,
        parameters=struct(job.parameters),
        fraction=job.fraction,
    )


def shows_job(event: jobs.JobEvent) -> bool:
    """Whether the event's message holds the whole job."""
    return isinstance(event.body, jobs.Accepted | jobs.Snapshot)


def event_message(event: jobs.JobEvent, job: jobs.Job | None = None) -> jobs_pb2.JobEvent:
    """An event. `job` is needed for those that show the whole job."""
    if job is None and shows_job(event):
        raise ValueError(f"the event {event.body.kind} shows the job, which is not given")
    message = jobs_pb2.JobEvent(
        job_id=event.job_id,
        sequence=event.sequence,
        durable=event.durable,
        time=timestamp(event.time),
        subject=subject_message(event.subject),
        state=STATES[event.state],
    )
    match event.body:
        case jobs.Accepted() if job is not None:
            message.accepted.job.CopyFrom(job_message(as_accepted(job)))
        case jobs.StateChanged(attempt=attempt, reason=reason):
            message.state_changed.attempt = attempt
            message.state_changed.reason = reason
        case jobs.ArtefactCommitted(asset=asset):
            message.artefact_committed.asset.CopyFrom(asset_message(Asset.from_json(asset)))
        case jobs.ChunkCommitted(chunk=chunk, chunks=chunks):
            # Set as a whole: chunk 0 alone would leave the field unset.
            message.chunk_committed.CopyFrom(jobs_pb2.JobEvent.ChunkCommitted(chunk=chunk, chunks=chunks))
        case jobs.PromptEnhanced(prompt=prompt, provider=provider):
            message.prompt_enhanced.CopyFrom(jobs_pb2.JobEvent.PromptEnhanced(prompt=prompt, provider=provider))
        case jobs.Notice(code=code, text=text):
            message.notice.CopyFrom(jobs_pb2.JobEvent.Notice(code=code, text=text))
        case jobs.Failed(failure=failure):
            message.failed.error.CopyFrom(status_of(failure))
        case jobs.Snapshot() if job is not None:
            message.snapshot.job.CopyFrom(job_message(job))
        case jobs.Progress() as progress:
            message.progress.CopyFrom(
                jobs_pb2.JobEvent.Progress(
                    stage=progress.stage,
                    step=progress.step,
                    steps=progress.steps,
                    fraction=progress.fraction,
                    eta=duration(progress.eta_s),
                )
            )
        case jobs.QueuePosition() as queue:
            message.queue_position.CopyFrom(
                jobs_pb2.JobEvent.QueuePosition(position=queue.position, eta=duration(queue.eta_s), reason=queue.reason)
            )
        case jobs.Preview() as preview:
            message.preview.CopyFrom(
                jobs_pb2.JobEvent.Preview(image=preview.image, width=preview.width, height=preview.height)
            )
    return message
