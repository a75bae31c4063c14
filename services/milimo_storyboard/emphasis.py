"""Emphasis of Fountain: `*italics*`, `**bold**`, `***both***`, `_underline_`, within one line."""

from __future__ import annotations

import re
from typing import Final

_RUN = re.compile(r"\\[*_]|\*+|_+")
_MARKS: Final = frozenset(("*", "**", "***", "_"))


def strip_emphasis(line: str) -> str:
    r"""Returns `line` without the marks of emphasis that come in pairs; `\*` and `\_` become plain characters.

    A mark opens before a character that is no space and closes after one, so "2 * 3 * 4" stays. An underscore within a
    word ("file_name_1") is none. One pass: the time is linear in the line.
    """
    if "*" not in line and "_" not in line:
        return line
    opened: dict[str, int] = {}
    dropped: list[tuple[int, int]] = []
    for match in _RUN.finditer(line):
        run, (start, end) = match.group(), match.span()
        if run[0] == "\\":
            dropped.append((start, start + 1))
            continue
        if run not in _MARKS:
            continue
        before, after = line[start - 1 : start], line[end : end + 1]
        closes = bool(before) and not before.isspace()
        opens = bool(after) and not after.isspace()
        if run == "_":
            closes, opens = closes and not after.isalnum(), opens and not before.isalnum()
        pair = _pair(run, opened) if closes else []
        if pair:
            dropped.extend(pair)
            dropped.append((start, end))
        elif opens and run not in opened:
            opened[run] = start
    if not dropped:
        return line
    dropped.sort()
    kept: list[str] = []
    position = 0
    for start, end in dropped:
        kept.append(line[position:start])
        position = end
    kept.append(line[position:])
    return "".join(kept)


def _pair(run: str, opened: dict[str, int]) -> list[tuple[int, int]]:
    """Returns the spans of the marks that `run` closes, and takes them out of `opened`."""
    if run in opened:
        start = opened.pop(run)
        return [(start, start + len(run))]
    if run == "***" and "*" in opened and "**" in opened:
        return [(start := opened.pop(mark), start + len(mark)) for mark in ("*", "**")]
    if run in ("*", "**") and "***" in opened:
        # "***both** italics*": the inner part of the three closes now, the outer part stays open.
        start = opened.pop("***")
        rest = 3 - len(run)
        opened["*" * rest] = start
        return [(start + rest, start + 3)]
    return []
