"""The instruments by which Milimo measures itself: their names, units and attributes, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opentelemetry.metrics import CallbackOptions, Observation

from milimo_runtime.telemetry import meter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from opentelemetry.metrics import Counter, Histogram

# Attributes of spans and measurements.
JOB_ID: Final = "milimo.job.id"
JOB_KIND: Final = "milimo.job.kind"
JOB_STATE: Final = "milimo.job.state"
TENANT: Final = "milimo.tenant"
DEVICE: Final = "milimo.device"
GRADE: Final = "milimo.grade"
BYTES: Final = "milimo.bytes"
STAGE: Final = "milimo.stage"
OUTCOME: Final = "milimo.outcome"
DIRECTION: Final = "milimo.swap.direction"

# From the hand-over of warm weights to a wait behind a long video, in seconds.
_WAIT_BOUNDS: Final = (0.001, 0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
# From tiny weights to 76 GB from a slow disk.
_SWAP_BOUNDS: Final = (0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
# From a step on a large accelerator to one on a laptop.
_STEP_BOUNDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """What is measured. `unit` is UCUM's, `attributes` are those of every measurement."""

    name: str
    unit: str
    attributes: tuple[str, ...] = ()
    description: str


JOBS: Final = Instrument(
    name="milimo.jobs", unit="{job}", attributes=(JOB_KIND, JOB_STATE), description="Jobs that have not ended"
)
JOBS_ENDED: Final = Instrument(
    name="milimo.jobs.ended", unit="{job}", attributes=(JOB_KIND, JOB_STATE), description="Jobs that have ended"
)
QUEUE_DEPTH: Final = Instrument(
    name="milimo.job.queue.depth", unit="{job}", description="Jobs that wait for their turn or for memory"
)
LEASE_WAIT: Final = Instrument(
    name="milimo.lease.wait",
    unit="s",
    attributes=(TENANT, OUTCOME),
    description="From a job's wish for the model to the lease; outcome: granted, withdrawn (also: cancelled), refused",
)
SWAP_DURATION: Final = Instrument(
    name="milimo.model.swap.duration",
    unit="s",
    attributes=(TENANT, DIRECTION),
    description="Time to bring weights to the device (load, restore) or off it (park, unload)",
)
SWAP_BYTES: Final = Instrument(
    name="milimo.model.swap.bytes",
    unit="By",
    attributes=(TENANT, DIRECTION),
    description="Bytes of weights that were brought to the device or off it",
)
STEP_DURATION: Final = Instrument(
    name="milimo.step.duration", unit="s", attributes=(JOB_KIND, STAGE), description="Time of one step of a stage"
)

INSTRUMENTS: Final = (JOBS, JOBS_ENDED, QUEUE_DEPTH, LEASE_WAIT, SWAP_DURATION, SWAP_BYTES, STEP_DURATION)


def _histogram(of: Instrument, bounds: Sequence[float]) -> Histogram:
    return meter.create_histogram(of.name, of.unit, of.description, explicit_bucket_boundaries_advisory=bounds)


def _counter(of: Instrument) -> Counter:
    return meter.create_counter(of.name, of.unit, of.description)


lease_wait: Final = _histogram(LEASE_WAIT, _WAIT_BOUNDS)
swap_duration: Final = _histogram(SWAP_DURATION, _SWAP_BOUNDS)
step_duration: Final = _histogram(STEP_DURATION, _STEP_BOUNDS)
swap_bytes: Final = _counter(SWAP_BYTES)
jobs_ended: Final = _counter(JOBS_ENDED)


def observe(of: Instrument, look: Callable[[], Iterable[tuple[int, Mapping[str, str]]]]) -> None:
    """Has a level read whenever metrics are exported, in the exporter's thread: `look` gives values and attributes.

    `look` must be quick and read memory only.
    """

    def read(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, attributes) for value, attributes in look()]

    meter.create_observable_up_down_counter(of.name, [read], of.unit, of.description)
