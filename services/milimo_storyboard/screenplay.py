"""From the elements of a screenplay to scenes and shots; Fountain and Final Draft are read into the same elements."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from milimo_storyboard.parsed_script import KeptKind, KeptText, ParsedScene, ParsedShot
from milimo_storyboard.shot_types import dialogue_shot_type, shot_type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class ElementKind(Enum):
    """What an element of a screenplay is."""

    HEADING = auto()
    ACTION = auto()  # one paragraph
    CUE = auto()  # opens a dialogue
    PARENTHETICAL = auto()  # of the dialogue that is open
    SPEECH = auto()  # of the dialogue that is open
    BREAK = auto()  # ends a dialogue, has no words


class Element(NamedTuple):
    """An element of a screenplay: clean text, and its place in the source."""

    kind: ElementKind
    text: str
    start: int
    end: int
    number: str = ""  # of a heading
    dual: bool = False  # of a cue


# These belong to the script, wherever they stand.
_OF_THE_SCRIPT: Final = frozenset((KeptKind.TITLE_PAGE, KeptKind.PAGE_FURNITURE))


@dataclass
class _Dialogue:
    character: str
    start: int
    end: int
    dual: bool
    speech: list[str] = field(default_factory=list)
    directions: list[str] = field(default_factory=list)


@dataclass
class _Scene:
    start: int
    heading: Element | None
    elements: list[Element] = field(default_factory=list)
    kept: list[KeptText] = field(default_factory=list)


def assemble(
    elements: Sequence[Element],
    kept: Iterable[KeptText],
    *,
    start: int,
    end: int,
    content: Callable[[int, int, Sequence[Element]], str],
) -> tuple[tuple[ParsedScene, ...], tuple[KeptText, ...]]:
    """Returns the scenes of the body [start, end), and the kept texts that no scene owns.

    `elements` stand in the order of their places. What precedes the first heading is a scene of its own if there is a
    shot in it; transitions, sections and the like alone are none, and go to the script. `content(start, end, elements)`
    gives a scene's text.
    """
    opening = _Scene(start=start, heading=None)
    drafts = [opening]
    for element in elements:
        if element.kind is ElementKind.HEADING:
            drafts.append(_Scene(start=element.start, heading=element))
        else:
            drafts[-1].elements.append(element)
    if not any(element.kind is not ElementKind.BREAK for element in opening.elements):
        del drafts[0]
    ordered = sorted(kept, key=lambda item: (item.start, -item.end))
    loose = _distribute(drafts, ordered, end)
    scenes = []
    for index, draft in enumerate(drafts):
        until = drafts[index + 1].start if index + 1 < len(drafts) else end
        heading = draft.heading
        own = draft.elements if heading is None else [heading, *draft.elements]
        scenes.append(
            ParsedScene(
                start=draft.start,
                end=until,
                content=content(draft.start, until, own),
                heading=heading.text if heading else "",
                heading_start=heading.start if heading else draft.start,
                heading_end=heading.end if heading else draft.start,
                number=heading.number if heading else "",
                shots=tuple(_shots(draft.elements)),
                kept=tuple(draft.kept),
            )
        )
    return tuple(scenes), tuple(loose)


def _distribute(drafts: Sequence[_Scene], kept: Iterable[KeptText], end: int) -> list[KeptText]:
    """Gives each kept text to the scene in which it starts; returns those that start in none."""
    loose: list[KeptText] = []
    index = -1
    for item in kept:
        while index + 1 < len(drafts) and drafts[index + 1].start <= item.start:
            index += 1
        if index < 0 or item.start >= end or item.kind in _OF_THE_SCRIPT:
            loose.append(item)
        else:
            drafts[index].kept.append(item)
    return loose


def _shots(elements: Iterable[Element]) -> list[ParsedShot]:
    """Each action paragraph is a shot, each dialogue with its character is one."""
    shots: list[ParsedShot] = []
    spoken = 0
    dialogue: _Dialogue | None = None
    for element in elements:
        if element.kind in (ElementKind.SPEECH, ElementKind.PARENTHETICAL):
            if dialogue is None:  # words without a cue, as Final Draft may have them
                dialogue = _Dialogue(character="", start=element.start, end=element.end, dual=False)
            dialogue.end = element.end
            (dialogue.speech if element.kind is ElementKind.SPEECH else dialogue.directions).append(element.text)
            continue
        if dialogue is not None:
            shots.append(_dialogue_shot(dialogue, spoken))
            spoken += 1
            dialogue = None
        if element.kind is ElementKind.CUE:
            dialogue = _Dialogue(character=element.text, start=element.start, end=element.end, dual=element.dual)
        elif element.kind is ElementKind.ACTION:
            kind = shot_type_of(element.text)
            shots.append(ParsedShot(start=element.start, end=element.end, shot_type=kind, action=element.text))
    if dialogue is not None:
        shots.append(_dialogue_shot(dialogue, spoken))
    return shots


def _dialogue_shot(dialogue: _Dialogue, ordinal: int) -> ParsedShot:
    return ParsedShot(
        start=dialogue.start,
        end=dialogue.end,
        shot_type=dialogue_shot_type(ordinal),
        action=" ".join(dialogue.directions),
        dialogue=" ".join(dialogue.speech),
        character=dialogue.character,
        dual=dialogue.dual,
    )
