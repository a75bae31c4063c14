"""One attempt at a job, as the program that does the work sees it: events, results, memory, cancellation."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError

from milimo_runtime.database import now
from milimo_runtime.durable import DurableEngine
from milimo_runtime.errors import MilimoError
from milimo_runtime.failures import failure_of
from milimo_runtime.job_trace import StageSpans
from milimo_runtime.jobs import (
    ChunkCommitted,
    Failure,
    Job,
    JobEvent,
    JobState,
    Notice,
    Preview,
    Progress,
    QueuePosition,
)
from milimo_runtime.lease_terms import LeaseLost
from milimo_runtime.observer import JobCancelled, unwatched
from milimo_runtime.progress import Reached, Stage, StageProgress, StageSpeeds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from PIL.Image import Image

    from milimo_runtime.assets import Asset
    from milimo_runtime.job_feed import JobFeed
    from milimo_runtime.job_store import JobStore
    from milimo_runtime.jobs import DurableBody, EphemeralBody
    from milimo_runtime.lease_terms import Grant, QueuePlace, Workload
    from milimo_runtime.residency import Residency
    from milimo_runtime.turn import Turn

M = TypeVar("M")

_PREVIEW_QUALITY: Final = 80
# A lease can be lost through no fault of the job: the arbiter revoked it, or a stopped process woke up too late.
_LEASE_ATTEMPTS: Final = 5


def _nobody() -> None:
    """There is nobody to rouse."""


def _nobody_counts(state: JobState) -> None:
    """There is no tally of the jobs."""


class JobDraining(BaseException):
    """The process is going down: the job is left as it is and taken up after the restart. Not an error of the job."""


# What SQLAlchemy raises when the database cannot be reached or is too busy; anything else is a defect.
DATABASE_AWAY: Final = (OperationalError, InterfaceError)


class DatabaseAway(BaseException):
    """The database does not answer: the job is left as it is and taken up when it does. Not an error of the job."""


class JobFailed(Exception):
    """A step failed; what is told of it was recorded with the step."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class LeaseTakenAgain(MilimoError):
    """The lease was lost each time that the step was begun."""

    status = "UNAVAILABLE"
    default_reason = "LEASE_LOST"

    def __init__(self, step: str) -> None:
        super().__init__(f"the accelerator's memory was taken away {_LEASE_ATTEMPTS} times during {step}; try again")


class Program(Protocol):
    """What a service does for one kind of job."""

    def run(self, run: JobRun) -> None:
        """Does the work, from a thread; the same calls in the same order whenever the job is taken up again.

        Returns when the job has succeeded. Raises JobCancelled, MilimoError or JobFailed.
        """


@dataclass
class Signals:
    """What may stop a job from outside; checked at each step."""

    cancelled: threading.Event = field(default_factory=threading.Event)
    draining: threading.Event = field(default_factory=threading.Event)
    # Rouses the job while it waits, so that it looks at once.
    rouse: Callable[[], None] = _nobody

    def cancel(self) -> None:
        """The job was cancelled: it ends at its next step."""
        self.cancelled.set()
        self.rouse()

    def drain(self) -> None:
        """The process goes down: the job is left at its next step."""
        self.draining.set()
        self.rouse()

    def check(self) -> None:
        """Raises JobDraining or JobCancelled when that was asked."""
        if self.draining.is_set():
            raise JobDraining
        if self.cancelled.is_set():
            raise JobCancelled


class JobRun:
    """One attempt at a job. Used by one thread."""

    def __init__(
        self,
        *,
        job: Job,
        store: JobStore,
        feed: JobFeed,
        signals: Signals,
        speeds: StageSpeeds,
        on_state: Callable[[JobState], None] = _nobody_counts,
    ) -> None:
        """`job` is the row as the attempt began; `on_state` hears of each state that is not final."""
        self.job = job
        self.signals = signals
        self.spans = StageSpans(job.kind)
        self._on_state = on_state
        self._store = store
        self._feed = feed
        self._speeds = speeds
        self._sequence = job.last_sequence
        self._state = job.state
        self._place: QueuePlace | None = None
        # In which the model ran last.
        self._grade = ""
        # What the watchers were told last: the next step of the job goes on from there.
        self._fraction = job.fraction

    @property
    def fraction(self) -> float:
        """How far the job is, 0 to 1; never falls."""
        return self._fraction

    @contextlib.contextmanager
    def turn(self, residency: Residency[M], workload: Workload | None = None) -> Iterator[Turn[M]]:
        """Waits for accelerator memory and yields the loaded model. The job is RUNNING inside.

        Raises:
            JobCancelled: while it waited.
            MilimoError: the model could not be loaded.
        """
        self.enter(JobState.WAITING_FOR_LEASE)
        self.signals.rouse = partial(residency.wake, self.job.id)
        try:
            # What was asked before now roused nobody.
            self.signals.check()
            with residency.turn(self.job.id, self.job.priority, self._waiting, workload) as turn:
                self.signals.check()
                self.enter(JobState.RUNNING)
                self._tell_grade(turn.grant)
                yield turn
        finally:
            self.signals.rouse = _nobody

    def step(
        self,
        name: str,
        residency: Residency[M],
        stages: Sequence[Stage],
        work: Callable[[M, JobObserver], Mapping[str, Any]],
        workload: Workload | None = None,
    ) -> Mapping[str, Any]:
        """Does `work` on the model as a durable step: once it is recorded it is not done again, also after a crash.

        A step whose lease is lost on the way is begun anew under the next one. `stages` are those of the whole job, of
        the steps before and after this one too: the fraction that is told is the job's. From the step's `workload` is
        learned how much memory the like takes.

        Returns:
            What `work` returned, as JSON.

        Raises:
            JobCancelled, JobFailed: also when the step was recorded by an earlier attempt.
        """
        return self._recorded(name, lambda: self._with_model(residency, stages, work, workload))

    def light_step(
        self, name: str, stages: Sequence[Stage], work: Callable[[JobObserver], Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Does `work`, which needs no model and waits for no lease, as a durable step; else as `step`."""
        return self._recorded(name, lambda: self._without_model(stages, work))

    def _recorded(self, name: str, work: Callable[[], dict[str, Any]]) -> Mapping[str, Any]:
        for number in range(_LEASE_ATTEMPTS):

            def attempt() -> dict[str, Any]:
                try:
                    return self._outcome(work)
                except DATABASE_AWAY as error:
                    # An Exception would be recorded as the step's end.
                    raise DatabaseAway from error

            outcome = DurableEngine.step(f"{name}#{number}", attempt)
            if "done" in outcome:
                done: Mapping[str, Any] = outcome["done"]
                return done
            if outcome.get("cancelled"):
                raise JobCancelled
            if "failure" in outcome:
                failure = outcome["failure"]
                raise JobFailed(
                    Failure(code=failure["code"], message=failure["message"], details=tuple(failure["details"]))
                )
        raise JobFailed(failure_of(LeaseTakenAgain(name)))

    def _with_model(
        self,
        residency: Residency[M],
        stages: Sequence[Stage],
        work: Callable[[M, JobObserver], Mapping[str, Any]],
        workload: Workload | None,
    ) -> dict[str, Any]:
        with self.turn(residency, workload) as turn, self.spans:

            def attempt() -> dict[str, Any]:
                observer = JobObserver(self, stages, self._speeds, turn.check)
                done = dict(work(turn.model, observer))
                turn.computed = observer.began
                return done

            return turn.with_room(attempt, self._short_of_memory)

    def _without_model(
        self, stages: Sequence[Stage], work: Callable[[JobObserver], Mapping[str, Any]]
    ) -> dict[str, Any]:
        self.signals.check()
        self.enter(JobState.RUNNING)
        with self.spans:
            return dict(work(JobObserver(self, stages, self._speeds, unwatched)))

    def _outcome(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Whatever comes of the step, as JSON: DBOS records it. Only JobDraining and JobTakenOver pass through."""
        try:
            return {"done": work()}
        except JobCancelled:
            return {"cancelled": True}
        except LeaseLost:
            self.notice("LEASE_LOST", "the accelerator's memory was taken away; the step begins anew")
            return {"lease_lost": True}
        except MilimoError as error:
            failure = failure_of(error)
            return {"failure": {"code": failure.code, "message": failure.message, "details": list(failure.details)}}

    def _tell_grade(self, grant: Grant) -> None:
        """A smaller one than the best changes the result: it is told, once in a row."""
        if grant.grade not in (grant.best_grade, self._grade):
            self.notice("SMALLER_FOOTPRINT", f"runs as {grant.grade}: there was no room for {grant.best_grade}")
        self._grade = grant.grade

    def _short_of_memory(self, problem: str) -> None:
        self.notice("OUT_OF_MEMORY", f"memory ran out, others are asked for theirs, and it is tried again: {problem}")

    def enter(self, state: JobState, *, reason: str = "") -> None:
        """Moves the job to a state and tells its watchers. Raises JobTakenOver."""
        self._state = state
        self._on_state(state)
        self.tell(self._store.enter(self.job.id, self.job.attempt, state, reason=reason))

    def append(self, body: DurableBody) -> None:
        """Adds a durable event. Raises JobTakenOver."""
        self.tell(self._store.append(self.job.id, self.job.attempt, body))

    def notice(self, code: str, text: str) -> None:
        """Tells the user something, durably."""
        self.append(Notice(code=code, text=text))

    def chunk(self, chunk: int, chunks: int) -> None:
        """Tells that a chunk is stored."""
        self.append(ChunkCommitted(chunk=chunk, chunks=chunks))

    def commit(self, asset: Asset, *, fraction: float) -> Asset:
        """Stores a result, once per artefact name: a second time finds the first. Raises JobTakenOver."""
        self._fraction = max(self._fraction, fraction)
        stored, event = self._store.commit_artefact(self.job.id, self.job.attempt, asset, fraction=self._fraction)
        self.tell(event)
        return stored

    def committed(self, artefact: str) -> Asset | None:
        """A result that this or an earlier attempt stored."""
        return self._store.artefact(self.job.id, artefact)

    def tell(self, event: JobEvent | None) -> None:
        """Passes a durable event on to the watchers."""
        if event is not None:
            self._sequence = event.sequence
            self._feed.publish(event)

    def mention(self, body: EphemeralBody) -> None:
        """Passes on what is not kept."""
        if isinstance(body, Progress):
            self._fraction = max(self._fraction, body.fraction)
        event = JobEvent(
            job_id=self.job.id,
            sequence=self._sequence,
            state=self._state,
            subject=self.job.subject,
            time=now(),
            body=body,
        )
        self._feed.publish(event)

    @property
    def wants_previews(self) -> bool:
        """Whether anybody would see a preview."""
        return self._feed.wants_previews(self.job.id)

    def _waiting(self, place: QueuePlace) -> None:
        """Called by the residency while the job waits; what it raises leaves the queue."""
        self.signals.check()
        if place != self._place:
            self._place = place
            self.mention(QueuePosition(position=place.position, eta_s=place.eta_s, reason=place.reason))


class JobObserver:
    """Tells the watchers what the engine reports, and the engine when to stop: the `Observer` of a job."""

    def __init__(
        self, run: JobRun, stages: Sequence[Stage], speeds: StageSpeeds, check_lease: Callable[[], None]
    ) -> None:
        self._run = run
        self._check_lease = check_lease
        self._progress = StageProgress(stages, speeds, floor=run.fraction)
        # Whether any stage has: an attempt may find its work done.
        self.began = False

    @property
    def fraction(self) -> float:
        """How far the job is."""
        return self._progress.fraction

    def begin(self, stage: str, steps: int) -> None:
        """A stage begins."""
        self.began = True
        self._check()
        self._run.spans.begin(stage, steps)
        self._tell(self._progress.begin(stage, steps, time.monotonic()))

    def advance(self, steps: int = 1) -> None:
        """Steps of the current stage are done."""
        self._run.spans.advance(steps)
        self._tell(self._progress.advance(steps, time.monotonic()))
        self._check()

    def preview(self, render: Callable[[], Image]) -> None:
        """Shows a picture of the result so far, when somebody looks."""
        if self._run.wants_previews:
            image = render()
            data = io.BytesIO()
            image.convert("RGB").save(data, "JPEG", quality=_PREVIEW_QUALITY)
            self._run.mention(Preview(image=data.getvalue(), width=image.width, height=image.height))

    def notice(self, code: str, text: str) -> None:
        """Tells the user something, durably."""
        self._run.notice(code, text)

    def _check(self) -> None:
        self._run.signals.check()
        self._check_lease()

    def _tell(self, reached: Reached) -> None:
        self._run.mention(
            Progress(
                stage=reached.stage,
                step=reached.step,
                steps=reached.steps,
                fraction=reached.fraction,
                eta_s=reached.eta_s,
            )
        )
