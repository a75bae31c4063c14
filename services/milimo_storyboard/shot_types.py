"""The type of a shot, from the words of its action."""

from __future__ import annotations

import re
from typing import Final

from milimo_storyboard.parsed_script import ShotType

# In this order: the first group that hits wins. A space stands for white space or a hyphen.
SHOT_TYPE_WORDS: Final[tuple[tuple[ShotType, tuple[str, ...]], ...]] = (
    (ShotType.ESTABLISHING, ("establishing", "skyline", "landscape", "aerial", "exterior")),
    (ShotType.CLOSE_UP, ("close up", "closeup", "detail", "eye", "eyes", "hand", "hands")),
    (ShotType.WIDE, ("wide shot", "wide angle", "panorama", "vista")),
    (ShotType.INSERT, ("insert", "cutaway", "prop")),
    (ShotType.TRACKING, ("tracking", "follow", "follows", "chase", "chases", "running", "walking")),
)


def _pattern() -> re.Pattern[str]:
    groups = []
    for kind, words in SHOT_TYPE_WORDS:
        spelled = "|".join(re.escape(word).replace(r"\ ", r"(?:\s++|-)") for word in words)
        groups.append(f"(?P<{kind.value}>{spelled})")
    # The word ends here; where it begins is left to the caller: a pattern that begins with letters is searched in a
    # quarter of the time. An underscore is a mark of emphasis, not a letter.
    return re.compile(rf"(?:{'|'.join(groups)})(?![^\W_])")


_PATTERN = _pattern()
_RANK = {kind.value: rank for rank, (kind, _) in enumerate(SHOT_TYPE_WORDS)}


def shot_type_of(action: str) -> ShotType:
    """Returns the first type, in the order of `SHOT_TYPE_WORDS`, of which a whole word stands in `action`.

    MEDIUM when there is none.
    """
    text = action.lower()
    best = len(SHOT_TYPE_WORDS)
    for match in _PATTERN.finditer(text):
        start = match.start()
        if match.lastgroup is not None and not (start and text[start - 1].isalnum()):
            best = min(best, _RANK[match.lastgroup])
    return SHOT_TYPE_WORDS[best][0] if best < len(SHOT_TYPE_WORDS) else ShotType.MEDIUM


def dialogue_shot_type(ordinal: int) -> ShotType:
    """Returns the type of a scene's dialogue number `ordinal` (from 0): close-up and medium alternate."""
    return ShotType.MEDIUM if ordinal % 2 else ShotType.CLOSE_UP
