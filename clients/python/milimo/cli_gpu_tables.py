"""What the arbiter knows, as tables for people."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from milimo.cli_output import Output, seconds_text, size_text, word

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.timestamp_pb2 import Timestamp

    from milimo.v1.arbiter_pb2 import ArbiterStatus, Decision, DeviceStatus, LeaseStatus, WaitingRequest

_UNKNOWN = "?"
_NOTHING = "–"


def show_status(output: Output, status: ArbiterStatus, decisions: int) -> None:
    """Devices, leases, the queue and the latest `decisions`; nothing in JSON mode."""
    output.table(
        ("device", "name", "total", "budget", "granted", "measured", "quarantined", "others", "free"),
        [_device_row(device) for device in status.devices],
    )
    if status.parking_budget_bytes or status.parked_bytes:
        parked, budget = size_text(status.parked_bytes), size_text(status.parking_budget_bytes)
        output.text(f"parked weights: {parked} of {budget} host memory")
    if status.HasField("grace_until"):
        until = _clock_time(status.grace_until)
        output.text(f"nothing is granted until {until}: holders reconnect after a restart of the arbiter")
    show_leases(output, status.leases)
    if status.externals:
        output.table(
            ("program", "device", "holds", "state"),
            [
                (
                    external.name,
                    external.device,
                    size_text(external.bytes) if external.HasField("bytes") else _UNKNOWN,
                    external.problem
                    or ("is asked for it" if external.reclaiming else "works" if external.busy else "idle"),
                )
                for external in status.externals
            ],
        )
    if status.queue:
        output.table(
            ("position", "tenant", "job", "priority", "needs", "since", "expected", "waits for"),
            [_queue_row(waiting) for waiting in status.queue],
        )
    latest = status.decisions[max(0, len(status.decisions) - decisions) :]
    if latest:
        output.table(("time", "decision", "tenant", "bytes", "why"), [_decision_row(decision) for decision in latest])


def show_leases(output: Output, leases: Iterable[LeaseStatus]) -> None:
    """Who holds what; nothing when nobody holds anything."""
    rows = [_lease_row(lease) for lease in leases]
    if rows:
        columns = ("lease", "tenant", "grade", "device", "granted", "measured", "parked", "state", "job", "waiting")
        output.table(columns, rows)


def _some(count: int) -> str:
    """Bytes, where nothing is easily seen to be nothing."""
    return size_text(count) if count else _NOTHING


def _clock_time(time: Timestamp) -> str:
    """A time of day, where the user is."""
    return time.ToDatetime(datetime.UTC).astimezone().strftime("%H:%M:%S")


def _device_row(device: DeviceStatus) -> tuple[str, ...]:
    return (
        device.device,
        device.name,
        size_text(device.total_bytes),
        size_text(device.total_bytes - device.reserve_bytes),
        _some(device.granted_bytes),
        size_text(device.measured_bytes) if device.HasField("measured_bytes") else _UNKNOWN,
        _some(device.quarantined_bytes),
        _some(device.external_bytes),
        size_text(device.free_bytes),
    )


def _lease_row(lease: LeaseStatus) -> tuple[str, ...]:
    from milimo.v1.arbiter_pb2 import LeaseState

    return (
        lease.lease_id,
        lease.tenant,
        lease.footprint,
        lease.device,
        size_text(lease.granted_bytes),
        size_text(lease.measured_bytes) if lease.HasField("measured_bytes") else _UNKNOWN,
        _some(lease.parked_bytes),
        word(LeaseState.Name(lease.state), "LEASE_STATE_"),
        lease.job_id,
        str(lease.waiting_jobs or ""),
    )


def _queue_row(waiting: WaitingRequest) -> tuple[str, ...]:
    from milimo.v1.common_pb2 import Priority

    return (
        str(waiting.position),
        waiting.tenant,
        waiting.job_id,
        word(Priority.Name(waiting.priority), "PRIORITY_"),
        size_text(waiting.min_bytes),
        _clock_time(waiting.waiting_since) if waiting.HasField("waiting_since") else _UNKNOWN,
        seconds_text(waiting.eta.ToTimedelta().total_seconds()) if waiting.HasField("eta") else _UNKNOWN,
        waiting.reason,
    )


def _decision_row(decision: Decision) -> tuple[str, ...]:
    return (
        _clock_time(decision.time),
        word(decision.action, ""),
        decision.tenant,
        _some(decision.bytes),
        decision.reason,
    )
