"""A job's progress while the command waits: a bar on a terminal, one line for each change elsewhere. All on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

import typer

from milimo import cli_errors
from milimo.cli_output import seconds_text, word

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self, TextIO

    from rich.progress import Progress, TaskID

    from milimo.cli_session import Session
    from milimo.v1.jobs_pb2 import Job, JobEvent


def stage_text(stage: str) -> str:
    """A stage for people: "encode_prompt" → "encode prompt"."""
    return stage.replace("_", " ")


def headline(event: JobEvent) -> str | None:
    """What the job does now, in a few words; None when the event does not change that."""
    from milimo.v1.jobs_pb2 import JobState

    kind = event.WhichOneof("event")
    if kind == "progress":
        steps = f" {event.progress.step}/{event.progress.steps}" if event.progress.steps > 1 else ""
        return stage_text(event.progress.stage) + steps
    if kind == "queue_position":
        waiting = event.queue_position
        # Nobody is before a job that waits for its own weights.
        place = f", number {waiting.position} in the queue" if waiting.position else ""
        text = f"waiting for memory{place}"
        if waiting.HasField("eta"):
            text += f", about {seconds_text(waiting.eta.ToSeconds())}"
        return text + (f" ({waiting.reason})" if waiting.reason else "")
    if kind in ("accepted", "state_changed", "snapshot"):
        reason = event.state_changed.reason if kind == "state_changed" else ""
        text = word(JobState.Name(event.state), "JOB_STATE_")
        return f"{text} ({reason})" if reason else text
    return None


def remark(event: JobEvent) -> str | None:
    """A line that stays: what the user should know beside the progress; None when there is nothing."""
    kind = event.WhichOneof("event")
    if kind == "notice":
        return f"note: {event.notice.text} [{event.notice.code}]"
    if kind == "prompt_enhanced":
        return f"prompt enhanced by {event.prompt_enhanced.provider}: {event.prompt_enhanced.prompt}"
    if kind == "chunk_committed":
        return f"part {event.chunk_committed.chunk + 1} of {event.chunk_committed.chunks} is stored"
    return None


class Progression(Protocol):
    """Something that shows the events of one job."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, event: JobEvent) -> None:
        """Shows what the event changes."""


class Lines:
    """One line for each new stage, state or queue position."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._latest = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, event: JobEvent) -> None:
        """Prints a line unless it says what the last one said."""
        if text := remark(event):
            print(f"  {text}", file=self._stream, flush=True)
        # Steps would be too many lines: a stage is announced once.
        text = stage_text(event.progress.stage) if event.HasField("progress") else headline(event)
        if text and text != self._latest:
            self._latest = text
            percent = f"{event.progress.fraction:4.0%} " if event.HasField("progress") else ""
            print(f"  {percent}{text}", file=self._stream, flush=True)


class Bar:
    """A bar with the stage, the share that is done, and the time that is left."""

    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._progress: Progress = Progress(
            TextColumn("{task.fields[title]}"),
            BarColumn(bar_width=28),
            TaskProgressColumn(),
            TextColumn("{task.fields[eta]}"),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
            transient=False,
        )
        self._task: TaskID = self._progress.add_task("", total=1.0, title=title, eta="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, event: JobEvent) -> None:
        """Moves the bar."""
        from milimo.cursor import FINAL_STATES
        from milimo.v1.jobs_pb2 import JOB_STATE_SUCCEEDED

        if text := remark(event):
            self._progress.print(text, markup=False, highlight=False)
        if text := headline(event):
            self._progress.update(self._task, description=text)
        if event.HasField("progress"):
            known = event.progress.HasField("eta")
            eta = f"{seconds_text(event.progress.eta.ToSeconds())} left" if known else ""
            self._progress.update(self._task, completed=event.progress.fraction, eta=eta)
        if event.state in FINAL_STATES:
            self._progress.update(self._task, eta="")
        if event.state == JOB_STATE_SUCCEEDED:
            self._progress.update(self._task, completed=1.0)


def progression(title: str) -> Progression:
    """A bar where a person can see it, else lines."""
    return Bar(title) if sys.stderr.isatty() else Lines(sys.stderr)


def follow(session: Session, job_id: str, *, title: str, json_lines: bool = False) -> Job:
    """Shows the job until it ends and answers with it, whatever became of it.

    Ctrl-C stops the watching, not the job, and says how to go on.

    Raises:
        typer.Exit: 130 when the user pressed Ctrl-C.
    """
    from milimo.cli_output import as_document

    watch = session.client.watch(job_id)
    try:
        with progression(title) as view:
            for event in watch:
                view.show(event)
                if json_lines:
                    session.output.json_line(as_document(event))
        return watch.result()
    except KeyboardInterrupt as error:
        session.output.note(
            f"job {job_id} goes on. Watch it: `milimo jobs watch {job_id}`; cancel it: `milimo jobs cancel {job_id}`"
        )
        raise typer.Exit(cli_errors.INTERRUPTED) from error


def require_success(session: Session, job: Job) -> None:
    """Says why a job ended without result.

    Raises:
        typer.Exit: 1 unless the job succeeded.
    """
    from milimo.errors import from_status
    from milimo.v1.jobs_pb2 import JOB_STATE_CANCELLED, JOB_STATE_SUCCEEDED

    if job.state == JOB_STATE_SUCCEEDED:
        return
    if job.state == JOB_STATE_CANCELLED:
        session.output.note(f"job {job.id} was cancelled; start it anew with `milimo jobs retry {job.id}`")
    else:
        error = from_status(job.error)
        session.output.note(cli_errors.error_line(error, cli_errors.advice(error, session.address)))
        session.output.note(f"job {job.id} failed; when the cause is gone: `milimo jobs retry {job.id}`")
    raise typer.Exit(cli_errors.FAILED)
