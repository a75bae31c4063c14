"""`milimo gpu`."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from milimo import cli_errors
from milimo.cli_gpu_tables import show_leases, show_status
from milimo.cli_output import as_document, size_text
from milimo.cli_session import AddressOption, JsonOption, Session, open_session

if TYPE_CHECKING:
    from milimo.v1.arbiter_pb2 import LeaseStatus

app = typer.Typer(no_args_is_help=True, help="See who may use the accelerator's memory, and take it back.")

DecisionsOption = Annotated[int, typer.Option(min=0, max=100, help="How many of the latest decisions.")]

_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]i?)?B?\s*", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@app.callback()
def gpu() -> None:
    """See who may use the accelerator's memory, and take it back."""


@app.command("status")
def status(decisions: DecisionsOption = 10, address: AddressOption = None, json: JsonOption = False) -> None:
    """Show devices, tenants, the queue with its reasons, and the latest decisions."""
    from milimo.v1.arbiter_pb2 import GetStatusRequest

    with open_session(address, json) as session:
        answer = session.client.gpu.GetStatus(GetStatusRequest()).status
        session.output.document(as_document(answer))
        show_status(session.output, answer, decisions)


@app.command("watch")
def watch(decisions: DecisionsOption = 10, address: AddressOption = None, json: JsonOption = False) -> None:
    """Show the same live: again after each change, until Ctrl-C."""
    from milimo.v1.arbiter_pb2 import WatchStatusRequest

    with open_session(address, json) as session:
        for change in session.client.gpu.WatchStatus(WatchStatusRequest()):
            session.output.json_line(as_document(change.status))
            if not json and sys.stdout.isatty():
                # The cursor goes home on an empty screen.
                print("\x1b[2J\x1b[H", end="")
            show_status(session.output, change.status, decisions)


@app.command("reclaim")
def reclaim(
    device: Annotated[str, typer.Option(help="Such as cuda:0. Default: all devices.")] = "",
    size: Annotated[
        str | None,
        typer.Option("--bytes", help="How much is wanted, such as 20GB or 512MiB. Default: all that is idle."),
    ] = None,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Ask the holders of idle weights to give their memory back, the cheapest to bring back first."""
    from milimo.v1.arbiter_pb2 import ReclaimMemoryRequest

    wanted = 0 if size is None else size_of(size)
    with open_session(address, json) as session:
        answer = session.client.gpu.ReclaimMemory(ReclaimMemoryRequest(device=device, bytes=wanted))
        session.output.document(as_document(answer))
        show_leases(session.output, answer.leases)
        total = sum(lease.granted_bytes for lease in answer.leases)
        session.output.note(
            f"asked for {size_text(total)}" if answer.leases else "nothing is idle there: nobody was asked"
        )


@app.command("revoke")
def revoke(
    lease: Annotated[str, typer.Argument(metavar="LEASE", help="Id of the lease, or a tenant that holds one.")],
    reason: Annotated[str, typer.Option(help="Shown to the holder and in the decisions.")] = "revoked by an operator",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Take a lease from its holder at once. A job that runs on it begins its step anew."""
    from milimo.v1.arbiter_pb2 import RevokeLeaseRequest

    with open_session(address, json) as session:
        found = _find(session, lease)
        if not yes:
            if not sys.stdin.isatty():
                raise typer.BadParameter("nobody can be asked here: say --yes", param_hint="--yes")
            job = f", on which the job {found.job_id} runs" if found.job_id else ""
            question = f"Revoke {size_text(found.granted_bytes)} of {found.tenant} on {found.device}{job}?"
            typer.confirm(question, abort=True, err=True)
        answer = session.client.gpu.RevokeLease(RevokeLeaseRequest(lease_id=found.lease_id, reason=reason))
        session.output.document(as_document(answer))
        show_leases(session.output, [answer.lease])
        session.output.note(f"revoked {found.lease_id} of {found.tenant}; its bytes are lent again when measured free")


def size_of(text: str) -> int:
    """Bytes of a size such as "20GB", "512 MiB" or "1000". Raises typer.BadParameter."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no size; say 20GB, 512MiB or a number of bytes", param_hint="--bytes")
    number, unit = match.groups(default="")
    base = 1024 if unit.lower().endswith("i") else 1000
    size = int(float(number) * base ** _POWERS[unit[:1].lower()])
    if not 0 < size < 2**63:
        raise typer.BadParameter(f"{text!r} is not between 1 byte and 8 EiB", param_hint="--bytes")
    return size


def _find(session: Session, wanted: str) -> LeaseStatus:
    """The lease with that id, or the only one of that tenant. Ends the command when there is none."""
    from milimo.v1.arbiter_pb2 import GetStatusRequest

    leases = session.client.gpu.GetStatus(GetStatusRequest()).status.leases
    found = [one for one in leases if wanted in (one.lease_id, one.tenant)]
    if not found:
        session.output.note(f"error: there is no lease or tenant {wanted!r}; `milimo gpu status` shows them")
        raise typer.Exit(cli_errors.NOT_FOUND)
    if len(found) > 1:
        ids = ", ".join(one.lease_id for one in found)
        raise typer.BadParameter(f"{wanted} holds several leases: {ids}; name one", param_hint="LEASE")
    return found[0]
