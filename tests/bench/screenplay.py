"""How long a long screenplay takes to parse."""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING, Final

from milimo_storyboard.parsed_script import ScriptMode
from milimo_storyboard.script import parse_script
from rows import Row, measured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from session import Session

NAMES: Final = ("parse_1mb_s",)
_CHARACTERS: Final = 1_000_000
_SCENE: Final = """\
{place} {number} - {time}

A red fishing boat leaves the quiet harbour. Gulls circle above the mast, and the engine coughs twice.

Close up of Mara's hands on the wheel. She does not look back.

MARA
(to herself)
One more day, number {number}.

JONAS (O.S.)
They will not wait for us. They never have.

> CUT TO:

"""
_PLACES: Final = ("EXT. HARBOUR", "INT. WHEELHOUSE", "EXT. LIGHTHOUSE", "INT./EXT. CAR")
_TIMES: Final = ("DAY", "NIGHT", "DAWN", "CONTINUOUS")


def screenplay(characters: int) -> str:
    """A Fountain screenplay of that length."""
    scenes: list[str] = []
    length = 0
    for number in count():
        scene = _SCENE.format(
            place=_PLACES[number % len(_PLACES)], time=_TIMES[number // 3 % len(_TIMES)], number=number
        )
        scenes.append(scene)
        length += len(scene)
        if length >= characters:
            return "".join(scenes)[:characters]
    raise AssertionError("unreachable")


def measure(session: Session) -> Mapping[str, Row]:
    """In this process."""
    text = screenplay(_CHARACTERS)
    took = []
    for _ in range(session.runs):
        begin = time.monotonic()
        script = parse_script(text, ScriptMode.AUTO)
        took.append(time.monotonic() - begin)
        if len(script.scenes) < _CHARACTERS // (2 * len(_SCENE)):
            raise RuntimeError(f"only {len(script.scenes)} scenes were found")
    return {NAMES[0]: measured(NAMES[0], took)}
