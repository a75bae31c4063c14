"""Numbered lists of shots: "1. ...", "Shot 2: ...", "#3) ..."."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from milimo_storyboard.lines import Line, collapse
from milimo_storyboard.parsed_script import ParsedShot
from milimo_storyboard.shot_types import shot_type_of

if TYPE_CHECKING:
    from collections.abc import Sequence

# The mark is followed by white space, so "10:30 the clock strikes" and "3.5 metres" are no items.
_ITEM = re.compile(r"((?:shot\s*+)?(?:#\s*+)?\d++)[.):\-](?=\s|$)", re.IGNORECASE)


def numbered_lines(lines: Sequence[Line]) -> int:
    """Returns how many lines begin an item."""
    return sum(_ITEM.match(line.text) is not None for line in lines)


def numbered_shots(lines: Sequence[Line]) -> tuple[ParsedShot, ...]:
    """Returns one shot per item. Lines without a number continue the item; those before the first are a shot too."""
    shots: list[ParsedShot] = []
    item: list[Line] = []
    for line in lines:
        if not line.text:
            continue
        if item and _ITEM.match(line.text):
            shots.append(_shot(item))
            item = []
        item.append(line)
    if item:
        shots.append(_shot(item))
    return tuple(shots)


def _shot(item: Sequence[Line]) -> ParsedShot:
    first = item[0].text
    match = _ITEM.match(first)
    rest = first[match.end() :] if match else first
    action = collapse(" ".join((rest, *(line.text for line in item[1:]))))
    return ParsedShot(
        start=item[0].start,
        end=item[-1].end,
        shot_type=shot_type_of(action),
        action=action,
        label=collapse(match.group(1)) if match else "",
    )
