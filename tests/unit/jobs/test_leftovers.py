"""What a crash leaves in the media store of jobs that nobody goes on with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo_runtime.jobs import JobState
from milimo_runtime.leftovers import delete_leftovers
from milimo_runtime.media import MediaStore, asset_key, work_key

from .requests import submit

if TYPE_CHECKING:
    from pathlib import Path

    from milimo_runtime.job_store import JobStore


def test_only_what_no_open_job_has_is_removed(store: JobStore, project: str, tmp_path: Path) -> None:
    media = MediaStore((tmp_path / "media").as_uri())
    assert delete_leftovers(store.database, media) == 0
    waiting, running, over = (submit(store, project).id for _ in range(3))
    for job_id in (running, over):
        attempt = store.begin_attempt(job_id)[0].attempt
    # It died when this was written, and before its files were removed.
    store.finish(over, attempt, JobState.SUCCEEDED)
    kept = asset_key(project, "generated", "asset", "mp4")
    keys = {job: work_key(project, job, "chunk-1", "mp4") for job in (waiting, running, over, "deleted")}
    for key in (kept, *keys.values()):
        media.write(b"data", key, scratch=tmp_path / "scratch")
    assert delete_leftovers(store.database, media) == 2
    assert {job for job, key in keys.items() if media.exists(key)} == {waiting, running}
    assert media.exists(kept)
    assert sorted(media.work_folders()) == sorted((project, job) for job in (waiting, running))
    assert delete_leftovers(store.database, media) == 0
