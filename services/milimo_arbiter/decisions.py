"""Tells of each decision with its reason: a line in the log, a count, and a span that is a trace of its own."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from milimo_runtime.metrics import BYTES, DEVICE, JOB_ID, TENANT, Instrument
from milimo_runtime.telemetry import meter, tracer
from opentelemetry.context import Context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from milimo_arbiter.effects import Decided

log = logging.getLogger(__name__)

_ACTION: Final = "milimo.decision"
_REASON: Final = "milimo.decision.reason"
_FENCE: Final = "milimo.fencing_token"
_NOWHERE: Final = Context()

DECISIONS: Final = Instrument(
    name="milimo.arbiter.decisions",
    unit="{decision}",
    attributes=(_ACTION, TENANT, DEVICE),
    description="What the arbiter has decided about leases, such as granted, reclaim_requested, freed",
)
SPANS: Final[Mapping[str, str]] = {
    "decision ACTION": "A decision of the arbiter, such as `decision granted`: a trace of its own, with the tenant, "
    "the device, the bytes, the job and the reason.",
}
_counter: Final = meter.create_counter(DECISIONS.name, DECISIONS.unit, DECISIONS.description)


def tell(decided: Decided) -> None:
    """Whoever asks later why a tenant has memory, or has lost it, finds the answer in each of the three."""
    told = {"tenant": decided.tenant, "device": decided.device, "bytes": decided.bytes}
    job = {"job_id": decided.job_id} if decided.job_id else {}
    more = {"action": decided.action, "fencing_token": decided.fencing_token}
    log.info(decided.reason, extra={**more, **told, **job})
    _counter.add(1, {_ACTION: decided.action, TENANT: decided.tenant, DEVICE: decided.device})
    span = tracer.start_span(f"decision {decided.action}", context=_NOWHERE)
    if span.is_recording():
        span.set_attributes(
            {
                TENANT: decided.tenant,
                DEVICE: decided.device,
                BYTES: decided.bytes,
                _FENCE: decided.fencing_token,
                _REASON: decided.reason,
                **({JOB_ID: decided.job_id} if decided.job_id else {}),
            }
        )
    span.end()
