"""What every command that talks to a mesh has in common: its options, its client, and how it ends."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from milimo import cli_errors
from milimo.cli_output import Output
from milimo.endpoint import DEFAULT_ADDRESS, local_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from milimo.client import Milimo
    from milimo.errors import MilimoError

AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="MILIMO_ADDRESS",
        help=f"The gateway, host:port or https://host. Default: what `milimo up` started here, else {DEFAULT_ADDRESS}.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, everything else on stderr.")]
ProjectOption = Annotated[
    str | None,
    typer.Option(
        "--project", "-p", envvar="MILIMO_PROJECT", help='Id or name; default: "default", made when it is missing.'
    ),
]
ProjectFilter = Annotated[
    str | None,
    typer.Option("--project", "-p", envvar="MILIMO_PROJECT", help="Id or name; default: all projects."),
]


@dataclass(frozen=True, kw_only=True)
class Session:
    """A command at work."""

    client: Milimo
    output: Output
    address: str


@contextlib.contextmanager
def open_session(address: str | None, json: bool) -> Iterator[Session]:
    """The client and the output of one command. Errors become one line and an exit code.

    Raises:
        typer.Exit: with one of `cli_errors.EXIT_CODES` when something went wrong.
    """
    output = Output(json=json)
    # On first use: --help does not need gRPC.
    from milimo.client import Milimo
    from milimo.errors import MilimoError

    address = address or local_address(os.environ)
    try:
        client = Milimo(address, api_key=os.environ.get("MILIMO_API_KEY"))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--address") from error
    try:
        with client:
            yield Session(client=client, output=output, address=address)
    except MilimoError as error:
        report(output, error, address)
        raise typer.Exit(cli_errors.exit_code(error)) from error
    except FileNotFoundError as error:
        output.note(f"error: there is no file {error.filename}")
        raise typer.Exit(cli_errors.NOT_FOUND) from error
    except BrokenPipeError:
        # The reader of stdout went away, as `| head` does: typer ends the command quietly.
        raise
    except OSError as error:
        output.note(f"error: {error.filename or 'the file'}: {error.strerror or error}")
        raise typer.Exit(cli_errors.USAGE) from error
    except KeyboardInterrupt as error:
        output.note("interrupted")
        raise typer.Exit(cli_errors.INTERRUPTED) from error


def report(output: Output, error: MilimoError, address: str) -> None:
    """Prints an error: one line on stderr, and a document on stdout in JSON mode."""
    next_step = cli_errors.advice(error, address)
    output.note(cli_errors.error_line(error, next_step))
    output.document(cli_errors.error_document(error, next_step))
