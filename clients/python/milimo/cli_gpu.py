"""`milimo gpu`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from milimo.cli_output import as_document, seconds_text, size_text, word
from milimo.cli_session import AddressOption, JsonOption, Session, open_session

if TYPE_CHECKING:
    from milimo.v1.arbiter_pb2 import ArbiterStatus

app = typer.Typer(no_args_is_help=True, help="See who may use the accelerator's memory.")


@app.callback()
def gpu() -> None:
    """See who may use the accelerator's memory."""


@app.command("status")
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Again after each change.")] = False,
    decisions: Annotated[int, typer.Option(min=0, max=100, help="How many of the latest decisions.")] = 10,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Show devices, leases, the queue and the latest decisions."""
    from milimo.v1.arbiter_pb2 import GetStatusRequest, WatchStatusRequest

    with open_session(address, json) as session:
        if not watch:
            answer = session.client.gpu.GetStatus(GetStatusRequest()).status
            session.output.document(as_document(answer))
            _show(session, answer, decisions)
            return
        for change in session.client.gpu.WatchStatus(WatchStatusRequest()):
            session.output.json_line(as_document(change.status))
            _show(session, change.status, decisions)


def _show(session: Session, status: ArbiterStatus, decisions: int) -> None:
    from milimo.v1.arbiter_pb2 import LeaseState

    output = session.output
    output.table(
        ("device", "name", "total", "granted", "in use", "free"),
        [
            (
                device.device,
                device.name,
                size_text(device.total_bytes),
                size_text(device.granted_bytes),
                size_text(device.measured_bytes) if device.HasField("measured_bytes") else "?",
                size_text(device.free_bytes),
            )
            for device in status.devices
        ],
    )
    if status.leases:
        output.table(
            ("tenant", "grade", "device", "granted", "state", "job"),
            [
                (
                    lease.tenant,
                    lease.footprint,
                    lease.device,
                    size_text(lease.granted_bytes),
                    word(LeaseState.Name(lease.state), "LEASE_STATE_"),
                    lease.job_id,
                )
                for lease in status.leases
            ],
        )
    if status.queue:
        output.table(
            ("position", "tenant", "needs", "expected", "waits for"),
            [
                (
                    str(waiting.position),
                    waiting.tenant,
                    size_text(waiting.min_bytes),
                    seconds_text(waiting.eta.ToSeconds()) if waiting.HasField("eta") else "?",
                    waiting.reason,
                )
                for waiting in status.queue
            ],
        )
    latest = status.decisions[max(0, len(status.decisions) - decisions) :]
    if latest:
        output.table(
            ("time", "decision", "tenant", "bytes", "why"),
            [
                (
                    decision.time.ToDatetime().strftime("%H:%M:%S"),
                    word(decision.action, ""),
                    decision.tenant,
                    size_text(decision.bytes) if decision.bytes else "",
                    decision.reason,
                )
                for decision in latest
            ],
        )
