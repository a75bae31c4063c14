"""Jobs as the tests of the store ask for them, and what those leave."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from milimo_runtime import job_store
from milimo_runtime.assets import Asset, AssetKind, artefact_id
from milimo_runtime.database import now
from milimo_runtime.jobs import Job, JobKind, NewJob, Subject

if TYPE_CHECKING:
    from milimo_runtime.job_store import JobStore

REQUEST = "5d0fcd3c-6f0e-4a6a-8a3f-0d2f9a5fbd0c"


def submit(store: JobStore, project: str, request_id: str = "", request_hash: str = "a", **changes: object) -> Job:
    new = NewJob(
        kind=JobKind.VIDEO,
        subject=Subject(project_id=project, shot_id="shot"),
        parameters={"prompt": "a red ball", "seed": 7},
        request_id=request_id,
        request_hash=request_hash,
    )
    return store.submit(replace(new, **changes), service="video", worker_address="127.0.0.1:1")[0]


def asset_of(job: Job, artefact: str) -> Asset:
    return Asset(
        id=artefact_id(job.id, artefact),
        project_id=job.subject.project_id,
        kind=AssetKind.VIDEO,
        name="a red ball",
        media_type="video/mp4",
        width=64,
        height=32,
        num_frames=9,
        fps=25.0,
        duration_seconds=0.36,
        bytes=1234,
        sha256="00",
        key="k",
        thumbnail_key="t",
        created_at=now(),
        job_id=job.id,
        artefact=artefact,
        parameters={"seed": 7},
    )


def request_cancel(store: JobStore, job_id: str, *, keep_partial: bool) -> Job:
    with store.database.write() as session:
        return job_store.request_cancel(session, job_id, keep_partial=keep_partial)


def delete_job(store: JobStore, job_id: str) -> Job:
    with store.database.write() as session:
        return job_store.delete_job(session, job_id)
