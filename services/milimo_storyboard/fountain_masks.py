"""What Fountain hides: the boneyard `/* ... */` and notes `[[ ... ]]`.

They may stand anywhere and span lines. A boneyard needs its closing mark, a note needs it before the next blank line (a
line of exactly two spaces is not blank); without it, the opening mark is ordinary text. The first opening mark wins.
"""

from __future__ import annotations

import re
from typing import Final

from milimo_storyboard.lines import MASK
from milimo_storyboard.parsed_script import KeptKind, KeptText

_OPENING = re.compile(r"/\*|\[\[")
_ENDS: Final = "\r\n\x85\u2028\u2029"
# A line end, then a line of nothing but white space. Possessive, so that no line is read twice.
_BLANK_LINE = re.compile(rf"(?:\r\n?+|[{_ENDS[1:]}])(?!  (?:[{_ENDS}]|\Z))[^\S{_ENDS}]*+(?=[{_ENDS}]|\Z)")


class _Ahead:
    """The next place at or after a position that only grows; found once each, so that all searches are one pass."""

    def __init__(self, text: str, pattern: re.Pattern[str]) -> None:
        self._text = text
        self._pattern = pattern
        self._place = -1

    def at(self, position: int) -> int:
        if self._place < position:
            match = self._pattern.search(self._text, position)
            self._place = match.start() if match else len(self._text)
        return self._place


def mask(text: str) -> tuple[str, list[KeptText]]:
    """Returns `text` with every hidden character replaced by `MASK` (its length stays), and what was hidden."""
    closers = {"/*": _Ahead(text, re.compile(r"\*/")), "[[": _Ahead(text, re.compile(r"\]\]"))}
    blank_line = _Ahead(text, _BLANK_LINE)
    hidden: list[KeptText] = []
    pieces: list[str] = []
    position = 0
    for match in _OPENING.finditer(text):
        start, inner = match.span()
        if start < position:
            continue
        close = closers[match.group()].at(inner)
        is_note = match.group() == "[["
        if close == len(text) or (is_note and blank_line.at(inner) < close):
            continue
        end = close + 2
        kind = KeptKind.NOTE if is_note else KeptKind.BONEYARD
        hidden.append(KeptText(kind=kind, text=text[inner:close].strip(), start=start, end=end))
        pieces += (text[position:start], MASK * (end - start))
        position = end
    if not hidden:
        return text, hidden
    pieces.append(text[position:])
    return "".join(pieces), hidden
