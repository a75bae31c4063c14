"""The page of the command: `python -m milimo.cli_reference` prints docs/cli.md from the command tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from milimo.cli_errors import EXIT_CODES

if TYPE_CHECKING:
    from collections.abc import Iterator

INTRODUCTION: Final = """\
# The `milimo` command

Made from the command tree by `python -m milimo.cli_reference`; a test compares the two.

- Results go to stdout, everything else to stderr. With `--json` stdout has one JSON document, or for a watch one a
  line, in the gateway's JSON: the contract's field names, numbers of 64 bits as strings.
- Commands find the mesh by `--address`, else by `MILIMO_ADDRESS`, else by the `mesh.json` that `milimo up` leaves in
  the home folder, else at 127.0.0.1:8080. A key for the gateway comes from `MILIMO_API_KEY`.
- Without `--project` work goes into a project called "default", which is made when it is missing.
- While a command waits it shows the stage, the share that is done, the time that is left, and the place in the queue
  for memory. Ctrl-C ends the waiting, not the job, and says how to watch or cancel it.
- Text output is for people and may change; scripts use `--json` and the exit code.
"""


def commands(command: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], TyperCommand]]:
    """Every command of the tree that is no group, with the words that call it, in alphabetical order."""
    if isinstance(command, TyperGroup):
        for name, subcommand in sorted(command.commands.items()):
            yield from commands(subcommand, (*path, name))
    elif isinstance(command, TyperCommand):
        yield path, command


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _section(path: tuple[str, ...], command: TyperCommand) -> Iterator[str]:
    """Heading, sentence, and a row for each argument and option."""
    context = typer.Context(command, info_name=path[-1])
    pieces = [piece for piece in command.collect_usage_pieces(context) if piece != command.options_metavar]
    # Typer puts the names that it was given into braces.
    names = " ".join(pieces).translate({ord("{"): None, ord("}"): None})
    yield f"## `{' '.join(path)}{f' {names}' if names else ''}`"
    yield ""
    yield (command.help or "").strip()
    yield ""
    rows = [record for parameter in command.params if (record := parameter.get_help_record(context)) is not None]
    rows = [row for row in rows if not row[0].startswith("-h")]
    if rows:
        yield "| | |"
        yield "|---|---|"
        for name, text in rows:
            yield f"| `{_cell(name)}` | {_cell(text)} |"
        yield ""


def reference(app: typer.Typer) -> str:
    """The page for a command tree."""
    root = typer.main.get_command(app)
    lines = [INTRODUCTION, "| Exit code | |", "|---|---|"]
    lines += [f"| {code} | {text} |" for code, text in EXIT_CODES.items()]
    lines.append("")
    for path, command in commands(root, ("milimo",)):
        lines += _section(path, command)
    return "\n".join(lines)


if __name__ == "__main__":
    from milimo.cli import build_app, installed_extensions

    print(reference(build_app(installed_extensions())), end="")
