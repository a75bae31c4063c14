"""Results of jobs: files into the media store, then the row and the event that make them known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from milimo_runtime.assets import Asset, MediaFacts, artefact_id, delete_asset_files, sha256_of
from milimo_runtime.database import now
from milimo_runtime.media import asset_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from milimo_runtime.job_run import JobRun
    from milimo_runtime.media import MediaStore


def commit_file(
    run: JobRun,
    media: MediaStore,
    path: Path,
    facts: MediaFacts,
    *,
    artefact: str,
    name: str,
    parameters: Mapping[str, Any],
    thumbnail: Path | None,
    fraction: float,
) -> Asset:
    """Moves a finished file, and its picture, into the media store and makes it a result of the job.

    Each attempt has files of its own, so that one that was taken over cannot replace those of the one that owns the
    job. Done again after a crash it finds the row of the first time, and the files that no row names are removed.

    Args:
        run: the job's attempt.
        media: where the files go.
        path: the finished file; it is gone afterwards.
        facts: what it is.
        artefact: names it within the job.
        name: for people.
        parameters: what it was made from.
        thumbnail: a JPEG of a quarter of the size; it is gone afterwards.
        fraction: how far the job is with it, 0 to 1.

    Raises:
        JobTakenOver: another attempt owns the job.
    """
    project = run.job.subject.project_id
    asset_id = artefact_id(run.job.id, artefact)
    file_name = f"{asset_id}-{run.job.attempt}"
    asset = Asset(
        id=asset_id,
        project_id=project,
        kind=facts.kind,
        name=name,
        media_type=facts.media_type,
        width=facts.width,
        height=facts.height,
        num_frames=facts.num_frames,
        fps=facts.fps,
        duration_seconds=facts.duration_seconds,
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        key=asset_key(project, "generated", file_name, facts.extension),
        thumbnail_key=asset_key(project, "thumbnails", file_name, "jpg") if thumbnail else "",
        created_at=now(),
        job_id=run.job.id,
        artefact=artefact,
        parameters=parameters,
    )
    with run.spans.storing(artefact=artefact, media_type=facts.media_type, size=asset.bytes):
        media.publish(path, asset.key)
        if thumbnail:
            media.publish(thumbnail, asset.thumbnail_key)
        stored = run.commit(asset, fraction=fraction)
    if stored.key != asset.key:
        delete_asset_files(media, asset)
    for attempt in range(1, run.job.attempt):
        # An attempt that died between its files and its row.
        left = f"{asset_id}-{attempt}"
        keys = {asset_key(project, "generated", left, facts.extension), asset_key(project, "thumbnails", left, "jpg")}
        for key in keys - {stored.key, stored.thumbnail_key}:
            media.delete(key)
    return stored
