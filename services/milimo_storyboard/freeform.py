"""Prose: a paragraph is a shot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from milimo_storyboard.lines import Line, collapse, paragraphs
from milimo_storyboard.parsed_script import ParsedShot, ShotType
from milimo_storyboard.shot_types import shot_type_of

if TYPE_CHECKING:
    from collections.abc import Sequence

# With more paragraphs than this, the first one establishes the place.
_WITHOUT_ESTABLISHING: Final = 2


def freeform_shots(lines: Sequence[Line]) -> tuple[ParsedShot, ...]:
    """Returns one shot per paragraph; the first of more than two is establishing."""
    groups = paragraphs(lines)
    shots: list[ParsedShot] = []
    for index, group in enumerate(groups):
        action = collapse(" ".join(line.text for line in group))
        establishes = index == 0 and len(groups) > _WITHOUT_ESTABLISHING
        shots.append(
            ParsedShot(
                start=group[0].start,
                end=group[-1].end,
                shot_type=ShotType.ESTABLISHING if establishes else shot_type_of(action),
                action=action,
            )
        )
    return tuple(shots)
