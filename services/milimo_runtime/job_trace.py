"""The spans of a job: the attempt, its wait for memory, the weights' way, each stage and step, the file that is made.

All of them are below the call that submitted the job, also when another process takes the job up after a crash.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final, Literal

from opentelemetry import context as contexts
from opentelemetry import trace

from milimo_runtime import metrics
from milimo_runtime.errors import MilimoError
from milimo_runtime.telemetry import context_of, fail, tracer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from opentelemetry.util.types import AnyValue

    from milimo_runtime.jobs import Failure, Job, JobKind, JobState
    from milimo_runtime.lease_terms import Grant, QueuePlace

# Every span of a job and what it stands for, in the order in which they come.
SPANS: Final[Mapping[str, str]] = {
    "job KIND": "One attempt at a job; below the call that submitted it. A job that was taken up again has several.",
    "lease wait": "From the wish for the model to the lease. Events `queued` name the place and what is waited for.",
    "load": "Weights on their way to the device, with their bytes.",
    "restore": "Parked weights on their way back to the device, in one copy.",
    "park": "Weights on their way off it, into host memory.",
    "unload": "Weights on their way off it, for good.",
    "stage NAME": "A stage of the plan, such as `stage denoise`, to its last step.",
    "step": "A step of the stage above it; the decoding of a video reports several frames as one.",
    "encode": "From the last step to the finished file. A video is encoded while it is decoded: here it is closed.",
    "store": "The file's way into the media store, and its row.",
}


@contextlib.contextmanager
def job_span(job: Job) -> Iterator[trace.Span]:
    """The span of an attempt at the job, current inside. The context around it, which is nobody's, is left out."""
    with tracer.start_as_current_span(
        f"job {job.kind}",
        context=context_of(job.traceparent),
        kind=trace.SpanKind.CONSUMER,
        attributes={metrics.JOB_ID: job.id, metrics.JOB_KIND: job.kind.value, "milimo.job.attempt": job.attempt},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span


def name_job(job: Job) -> None:
    """Names the job in the span of the call that is about it."""
    trace.get_current_span().set_attribute(metrics.JOB_ID, job.id)


def tell_end(state: JobState, failure: Failure | None) -> None:
    """How the attempt ended whose span is current."""
    span = trace.get_current_span()
    if span.is_recording():
        span.set_attribute(metrics.JOB_STATE, state.value)
        if failure is not None:
            reasons = (detail.get("reason") for detail in failure.details)
            fail(span, str(next(filter(None, reasons), "UNKNOWN")))


class LeaseWait:
    """A wait for memory. What leaves a block of it as an exception ends it; such blocks may follow each other."""

    def __init__(self, tenant: str, clock: Callable[[], float]) -> None:
        """It begins now."""
        self._tenant = tenant
        self._clock = clock
        self._since = clock()
        self._over = False
        self._told: QueuePlace | None = None
        self._span = tracer.start_span("lease wait", attributes={metrics.TENANT: tenant})

    def heard_by(self, on_waiting: Callable[[QueuePlace], None]) -> Callable[[QueuePlace], None]:
        """`on_waiting`, with each new place also told to the span."""

        def told(place: QueuePlace) -> None:
            if not self._over and place != self._told:
                self._told = place
                self._span.add_event(
                    "queued", {"milimo.queue.position": place.position, "milimo.queue.reason": place.reason}
                )
            on_waiting(place)

        return told

    def granted(self, grant: Grant, *, is_resident: bool) -> None:
        """The lease is held; `is_resident` when its weights are there from an earlier turn."""
        self._span.set_attributes(
            {
                "milimo.lease.id": grant.lease_id,
                metrics.DEVICE: grant.device,
                metrics.GRADE: grant.grade,
                "milimo.granted_bytes": grant.bytes,
                "milimo.resident": is_resident,
            }
        )
        self._end("granted")

    def _end(self, outcome: str) -> None:
        if not self._over:
            self._over = True
            metrics.lease_wait.record(
                self._clock() - self._since, {metrics.TENANT: self._tenant, metrics.OUTCOME: outcome}
            )
            self._span.set_attribute(metrics.OUTCOME, outcome)
            self._span.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, MilimoError) and not self._over:
            fail(self._span, error.reason)
            self._end("refused")
        elif error is not None:
            self._end("withdrawn")


class Swap:
    """Weights on their way, to the device or off it. A block that is left by an exception brought nothing anywhere."""

    def __init__(
        self,
        direction: Literal["load", "restore", "park", "unload"],
        tenant: str,
        clock: Callable[[], float],
        *,
        size: int = 0,
    ) -> None:
        """It begins now, with `size` bytes where they are known by now."""
        self.size = size
        self._attributes = {metrics.TENANT: tenant, metrics.DIRECTION: direction}
        self._clock = clock
        self._since = clock()
        # Weights that leave because somebody else wants the memory belong to no trace.
        is_traced = trace.get_current_span().get_span_context().is_valid
        self._span = (
            tracer.start_span(direction, attributes={metrics.TENANT: tenant}) if is_traced else trace.INVALID_SPAN
        )

    def done(self) -> None:
        """The bytes have arrived, or are free."""
        metrics.swap_duration.record(self._clock() - self._since, self._attributes)
        metrics.swap_bytes.add(self.size, self._attributes)
        self._span.set_attribute(metrics.BYTES, self.size)
        self._span.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.done()
        else:
            fail(self._span, kind.__name__)
            self._span.end()


class StageSpans:
    """The spans of an attempt's stages, steps and files, below the span that is current when it is made.

    Used by one thread. A step costs a measurement, and a span of its own where somebody records it.
    """

    def __init__(self, kind: JobKind, clock: Callable[[], float] = time.monotonic) -> None:
        self._kind = kind.value
        self._clock = clock
        # Spans tell the time of the wall; steps are timed by a clock that nobody sets.
        self._epoch_ns = time.time_ns() - round(clock() * 1e9)
        self._context = contexts.get_current()
        self._below_stage = self._context
        self._stage: trace.Span | None = None
        self._attributes: Mapping[str, str] = {}
        self._step = self._steps = 0
        self._since = clock()

    def begin(self, stage: str, steps: int) -> None:
        """A stage begins, and the one before is over."""
        at = self._clock()
        self._end_stage(at)
        # A long video repeats its stages for each chunk, as "chunk_7.decode".
        chunk, _, name = stage.rpartition(".")
        self._attributes = {metrics.JOB_KIND: self._kind, metrics.STAGE: name}
        self._stage = tracer.start_span(
            f"stage {name}",
            context=self._context,
            start_time=self._wall(at),
            attributes={metrics.STAGE: name, "milimo.steps": steps, **({"milimo.chunk": chunk} if chunk else {})},
        )
        self._below_stage = trace.set_span_in_context(self._stage, self._context)
        self._step, self._steps = 0, steps
        self._since = at

    def advance(self, steps: int) -> None:
        """That many steps are done since the last time; 0 says only that the work goes on."""
        if steps <= 0:
            return
        at = self._clock()
        metrics.step_duration.record((at - self._since) / steps, self._attributes)
        self._step += steps
        if self._stage is not None:
            if self._stage.is_recording():
                span = tracer.start_span(
                    "step",
                    context=self._below_stage,
                    start_time=self._wall(self._since),
                    attributes={"milimo.step": self._step, "milimo.steps": steps},
                )
                span.end(self._wall(at))
            if self._step >= self._steps:
                self._end_stage(at)
        self._since = at

    @contextlib.contextmanager
    def storing(self, *, artefact: str, media_type: str, size: int) -> Iterator[None]:
        """Around the storing of a finished file. What came between the last step and now made the file."""
        attributes: Mapping[str, AnyValue] = {
            "milimo.artefact": artefact,
            "milimo.media_type": media_type,
            metrics.BYTES: size,
        }
        if self._stage is None and self._attributes:
            span = tracer.start_span(
                "encode", context=self._context, start_time=self._wall(self._since), attributes=attributes
            )
            span.end()
        with tracer.start_as_current_span(
            "store",
            context=self._context,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                fail(span, type(error).__name__)
                raise
        self._since = self._clock()

    def _end_stage(self, at: float) -> None:
        if self._stage is not None:
            self._stage.end(self._wall(at))
            self._stage = None

    def _wall(self, at: float) -> int:
        return self._epoch_ns + round(at * 1e9)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._stage is not None and kind is not None:
            fail(self._stage, kind.__name__)
        self._end_stage(self._clock())
