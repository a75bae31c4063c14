"""What the command prints: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from google.protobuf.message import Message


def as_document(message: Message) -> dict[str, Any]:
    """The message as the gateway's JSON: proto field names, every field present."""
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where results go. With `json`, stdout has one document, or one a line for a watch, and nothing else."""

    json: bool = False

    def document(self, document: dict[str, Any]) -> None:
        """The result, in JSON mode; else nothing."""
        if self.json:
            print(json.dumps(document, ensure_ascii=False, indent=2), flush=True)

    def json_line(self, document: dict[str, Any]) -> None:
        """One of many results, in JSON mode; else nothing."""
        if self.json:
            print(json.dumps(document, ensure_ascii=False), flush=True)

    def text(self, text: str) -> None:
        """The result for people; nothing in JSON mode."""
        if not self.json:
            print(text, flush=True)

    def note(self, text: str) -> None:
        """Something beside the result."""
        print(text, file=sys.stderr, flush=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Rows for people: drawn on a terminal, tabs between the columns elsewhere."""
        if self.json:
            return
        if not sys.stdout.isatty():
            for row in (columns, *rows):
                print("\t".join(row))
            return
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)


def size_text(count: int) -> str:
    """Bytes for people: "1.5 GiB"."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def seconds_text(seconds: float) -> str:
    """A duration for people: "42 s", "3 min 20 s", "1 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def word(name: str, prefix: str) -> str:
    """An enum value for people: JOB_STATE_WAITING_FOR_LEASE → "waiting for lease"."""
    return name.removeprefix(prefix).replace("_", " ").lower()
