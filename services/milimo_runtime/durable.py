"""Durable execution: what was begun is finished after a crash. The only module that knows DBOS.

A workflow's id is the job's id. A step that was recorded is not run again when its workflow recovers: the recorded
outcome is handed back instead.
"""

from __future__ import annotations

import logging
import sqlite3
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID
from sqlalchemy import make_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

log = logging.getLogger(__name__)

_WORKFLOW: Final = "run_job"
_UNFINISHED: Final = frozenset({"PENDING", "ENQUEUED", "DELAYED"})
_ENDED: Final = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
# Workflows that are asked for, or removed, in one statement.
_AT_ONCE: Final = 500


class Known(StrEnum):
    """What the engine knows of a job's workflow."""

    NOTHING = "nothing"
    # It runs, or is about to be taken up.
    OPEN = "open"
    # It was begun by another version of the service, whose steps were others: nobody takes it up.
    OUTDATED = "outdated"
    # It has ended, in whatever way.
    OVER = "over"


class DurableEngine:
    """Runs one kind of workflow, a job, in threads of this process. DBOS allows one engine per process."""

    def __init__(self, *, service: str, version: int, url: str, executor_id: str, run: Callable[[str], str]) -> None:
        """Prepares the engine; nothing runs before `launch`.

        Args:
            service: such as "video"; names the workflows, so that no other process of the mesh takes them up.
            version: raised only when the order of a workflow's steps changes: open jobs of another version fail.
            url: SQLAlchemy URL of the engine's own SQLite file, or of a PostgreSQL database where it gets a schema.
            executor_id: names this process in the engine's records.
            run: the workflow; gets the job's id and returns its outcome.
        """
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            _use_write_ahead_log(Path(parsed.database))
        config: DBOSConfig = {
            "name": f"milimo-{service}",
            "application_version": f"{service}-{version}",
            "executor_id": f"{service}-{executor_id}",
            "system_database_url": url,
            "dbos_system_schema": f"dbos_{service}",
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
            "enable_otlp": False,
        }
        # With a handler of its own DBOS keeps its records from the process's log.
        logging.getLogger("dbos").addHandler(logging.NullHandler())
        DBOS(config=config)

        # A job that kills its process each time must not do so for ever.
        @DBOS.workflow(name=_WORKFLOW, max_recovery_attempts=20)
        def workflow(job_id: str) -> str:
            return run(job_id)

        self._workflow = workflow
        self._version = config["application_version"]

    def launch(self) -> None:
        """Opens the database and takes up what earlier processes of the service left unfinished. Blocks.

        The engine itself takes up only what bears its own executor id. One process runs a service, so that whatever
        another executor id left (the process was configured anew, or its data were moved) is nobody's but ours.
        """
        DBOS.launch()
        left = DBOS.list_workflows(
            status="PENDING", name=_WORKFLOW, app_version=self._version, load_input=False, load_output=False
        )
        foreign = [workflow.workflow_id for workflow in left if workflow.executor_id != DBOS.executor_id]
        for ids in _batched(foreign):
            DBOS.resume_workflows(ids)
        if foreign:
            log.info("workflows of another executor taken up", extra={"action": "adopted", "jobs": len(foreign)})

    def start(self, job_id: str) -> None:
        """Starts the job's workflow in a thread; does nothing when there is one already. Blocks for a commit."""
        with SetWorkflowID(job_id):
            DBOS.start_workflow(self._workflow, job_id)

    def known(self, job_ids: Sequence[str]) -> Mapping[str, Known]:
        """What became of the workflow of each of the jobs. Blocks."""
        found = dict.fromkeys(job_ids, Known.NOTHING)
        for ids in _batched(job_ids):
            for workflow in DBOS.list_workflows(workflow_ids=ids, load_input=False, load_output=False):
                if workflow.status not in _UNFINISHED:
                    known = Known.OVER
                elif workflow.app_version in (None, self._version):
                    known = Known.OPEN
                else:
                    known = Known.OUTDATED
                found[workflow.workflow_id] = known
        return found

    @staticmethod
    def resume(job_id: str) -> None:
        """Takes up a workflow of this process that was left in the middle. Blocks for a commit."""
        DBOS.resume_workflow(job_id)

    @staticmethod
    def forget(job_ids: Sequence[str]) -> None:
        """Removes what is kept of ended workflows. Blocks for a commit."""
        DBOS.delete_workflows(list(job_ids))

    def forget_ended(self, before: datetime) -> int:
        """Removes what is kept of workflows that ended before a time; returns how many. Blocks."""
        forgotten = 0
        while ended := DBOS.list_workflows(
            status=_ENDED,
            name=_WORKFLOW,
            completed_before=before.isoformat(),
            limit=_AT_ONCE,
            load_input=False,
            load_output=False,
        ):
            self.forget([workflow.workflow_id for workflow in ended])
            forgotten += len(ended)
        return forgotten

    @staticmethod
    def step(name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Runs `work` as a durable step of the current workflow and returns its JSON outcome, now or on recovery."""
        return DBOS.run_step({"name": name}, work)

    def close(self, *, wait_s: float) -> None:
        """Stops; workflows that are not done after `wait_s` seconds are taken up at the next launch. Blocks."""
        DBOS.destroy(workflow_completion_timeout_sec=round(wait_s))


def _batched(ids: Sequence[str]) -> Iterator[list[str]]:
    """The ids, as many at a time as one statement takes."""
    for start in range(0, len(ids), _AT_ONCE):
        yield list(ids[start : start + _AT_ONCE])


def _use_write_ahead_log(path: Path) -> None:
    """DBOS leaves SQLite's journal as it is, and commits take several times as long with the default one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
