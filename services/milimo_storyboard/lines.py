"""Lines of a text, with their places in it.

A line ends at CR LF, CR, LF, and at Unicode's own NEL, LS and PS. Form feeds are white space: page ends of printed
text are no paragraph ends.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

# Stands for a character that a syntax hides. Scripts hold no NUL (they are refused), so it is free.
MASK = "\0"

_LINE_END = re.compile("\r\n?+|[\n\x85\u2028\u2029]")


class Line(NamedTuple):
    """A line without the white space around it."""

    start: int  # offset of the first character that is shown
    end: int  # offset behind the last one
    text: str  # what is shown, without masks
    raw: str  # the line as it stands, masks included, line end excluded

    @property
    def is_blank(self) -> bool:
        """Nothing stands on it, not even something hidden."""
        return not self.text and MASK not in self.raw

    @property
    def is_hidden(self) -> bool:
        """All that stands on it is hidden: it counts neither as text nor as a blank line."""
        return not self.text and MASK in self.raw


def split_lines(text: str) -> list[Line]:
    """Returns the lines of `text`; a last one without an end counts, an empty one after the last end does not."""
    lines: list[Line] = []
    position = 0
    for match in _LINE_END.finditer(text):
        end, after = match.span()
        # Half of a screenplay's lines are empty.
        lines.append(_line(text[position:end], position, end) if position < end else Line(position, end, "", ""))
        position = after
    if position < len(text):
        lines.append(_line(text[position:], position, len(text)))
    return lines


def _line(raw: str, start: int, end: int) -> Line:
    if MASK in raw:
        seen = raw.replace(MASK, " ")
        right = seen.rstrip()
        end = start + len(right)
        inner = len(right) - len(right.lstrip())
        return Line(start + inner, end, raw[inner : len(right)].replace(MASK, ""), raw)
    text = raw.strip()
    if len(text) == len(raw):
        return Line(start, end, text, raw)
    start += len(raw) - len(raw.lstrip())
    return Line(start, start + len(text), text, raw)


def collapse(text: str) -> str:
    """Returns `text` with every run of white space as one space, none at the ends."""
    return " ".join(text.split())


def paragraphs(lines: Iterable[Line]) -> list[list[Line]]:
    """Returns the groups of lines between blank lines."""
    groups: list[list[Line]] = []
    current: list[Line] = []
    for line in lines:
        if line.text:
            current.append(line)
        elif current:
            groups.append(current)
            current = []
    if current:
        groups.append(current)
    return groups
