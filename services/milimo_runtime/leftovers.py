"""What a crash leaves of jobs: files between steps, of jobs that have ended and of none."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sqlalchemy import select

from milimo_runtime.jobs import JobState
from milimo_runtime.schema import JobRow

if TYPE_CHECKING:
    from milimo_runtime.database import Database
    from milimo_runtime.media import MediaStore

log = logging.getLogger(__name__)


def delete_leftovers(database: Database, media: MediaStore) -> int:
    """Removes the work folders that no open job has; their number.

    A job removes its own at its end. A process that dies between the two does not, and nobody takes up a job that has
    ended. Folders are listed first: one that is made meanwhile belongs to a job whose row was there before it.
    """
    folders = list(media.work_folders())
    if not folders:
        return 0
    with database.read() as session:
        rows = session.execute(select(JobRow.id, JobRow.state).where(JobRow.id.in_({job for _, job in folders})))
        open_jobs = {id_ for id_, state in rows if not JobState(state).final}
    left = [(project, job) for project, job in folders if job not in open_jobs]
    for project, job in left:
        media.delete_work(project, job)
    if left:
        log.info("work folders removed", extra={"action": "leftovers_removed", "folders": len(left)})
    return len(left)
