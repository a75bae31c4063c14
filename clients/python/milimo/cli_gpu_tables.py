"""What the arbiter knows, as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo.cli_output import Output, seconds_text, size_text, word

if TYPE_CHECKING:
    from collections.abc import Iterable

    from milimo.v1.arbiter_pb2 import ArbiterStatus, Decision, DeviceStatus, LeaseStatus, WaitingRequest

_UNKNOWN = "?"


def show_status(output: Output, status: ArbiterStatus, decisions: int) -> None:
    """Devices, leases, the queue and the latest `decisions`; nothing in JSON mode."""
    output.table(
        ("device", "name", "total", "reserve", "granted", "measured", "quarantined", "others", "free"),
        [_device_row(device) for device in status.devices],
    )
    if status.parking_budget_bytes or status.parked_bytes:
        parked, budget = size_text(status.parked_bytes), size_text(status.parking_budget_bytes)
        output.text(f"parked weights: {parked} of {budget} host memory")
    if status.HasField("grace_until"):
        until = status.grace_until.ToDatetime().strftime("%H:%M:%S")
        output.text(f"nothing is granted until {until} UTC: holders reconnect after a restart of the arbiter")
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
            ("position", "tenant", "job", "priority", "needs", "expected", "waits for"),
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


def _device_row(device: DeviceStatus) -> tuple[str, ...]:
    return (
        device.device,
        device.name,
        size_text(device.total_bytes),
        size_text(device.reserve_bytes),
        size_text(device.granted_bytes),
        size_text(device.measured_bytes) if device.HasField("measured_bytes") else _UNKNOWN,
        size_text(device.quarantined_bytes),
        size_text(device.external_bytes),
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
        size_text(lease.parked_bytes),
        word(LeaseState.Name(lease.state), "LEASE_STATE_"),
        lease.job_id,
        str(lease.waiting_jobs),
    )


def _queue_row(waiting: WaitingRequest) -> tuple[str, ...]:
    from milimo.v1.common_pb2 import Priority

    return (
        str(waiting.position),
        waiting.tenant,
        waiting.job_id,
        word(Priority.Name(waiting.priority), "PRIORITY_"),
        size_text(waiting.min_bytes),
        seconds_text(waiting.eta.ToTimedelta().total_seconds()) if waiting.HasField("eta") else _UNKNOWN,
        waiting.reason,
    )


def _decision_row(decision: Decision) -> tuple[str, ...]:
    return (
        decision.time.ToDatetime().strftime("%H:%M:%S"),
        word(decision.action, ""),
        decision.tenant,
        size_text(decision.bytes) if decision.bytes else "",
        decision.reason,
    )
