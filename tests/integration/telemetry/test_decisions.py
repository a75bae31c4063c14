"""Each decision of the arbiter with its reason: in its log, in its metrics and as a trace."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from milimo.v1 import arbiter_pb2 as pb
from milimo_runtime.lease import acquire
from milimo_runtime.lease_terms import Claim, Grade

from .collector import PROMPTLY, running_collector

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    import pytest

    Started = Callable[[], AbstractAsyncContextManager[Any]]

COUNTS = "milimo.arbiter.decisions"


async def decide(arbiter: Any) -> list[tuple[str, str]]:
    """Has a lease granted, and taken away; the decisions with their reasons, as the arbiter shows them."""
    claim = Claim(tenant="video", grades=(Grade(name="whole", bytes=700),), job_id="job-1")
    changed = asyncio.Event()
    lease = await acquire(
        arbiter.channel, claim, on_queued=lambda place: None, measure=lambda: 700, on_change=changed.set
    )
    await arbiter.stub.RevokeLease(
        pb.RevokeLeaseRequest(lease_id=lease.grant.lease_id, reason="it is needed elsewhere")
    )
    await changed.wait()
    await lease.release()
    return [(one.action, one.reason) for one in (await arbiter.status()).decisions]


async def test_a_decision_is_told_with_its_reason_in_log_metrics_and_traces(
    arbiter_process: Started, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with running_collector() as collector:
        for name, value in {**PROMPTLY, "MILIMO_OTLP_ENDPOINT": collector.endpoint}.items():
            monkeypatch.setenv(name, value)
        async with arbiter_process() as arbiter:
            decided = await decide(arbiter)
            assert [action for action, _ in decided][:2] == ["granted", "revoked"]
            names = [f"decision {action}" for action, _ in decided]

            def arrived() -> bool:
                counted = {point.attributes["milimo.decision"] for point in collector.measured(COUNTS)}
                return all(map(collector.named, names)) and counted == {action for action, _ in decided}

            await asyncio.to_thread(collector.until, arrived)
    spans = [collector.named(name)[0] for name in names]
    assert [span.attributes["milimo.decision.reason"] for span in spans] == [reason for _, reason in decided]
    assert {(span.attributes["milimo.tenant"], span.attributes["milimo.job.id"]) for span in spans[:2]} == {
        ("video", "job-1")
    }
    assert len({span.trace_id for span in spans}) == len(spans)
    assert {(one.attributes["milimo.tenant"], one.value) for one in collector.measured(COUNTS)} == {("video", 1)}
    log = capfd.readouterr().err
    for action, reason in decided:
        assert re.search(rf"{re.escape(reason)}.*action={action}.*tenant=video", log), (action, reason)
