"""The syntax of Fountain (fountain.io): from text to the elements of a screenplay.

Where people write less strictly than the reference, the reading is generous, and only there:

* A heading needs no blank line below it. One in capitals with its dot ("INT. HOUSE") needs none above it either.
* A heading, section, synopsis, transition or page break counts as a blank line for what follows it.
* "FADE IN:", "FADE OUT.", "FADE TO BLACK." and "CUT TO BLACK." are transitions, as well as all that ends in "TO:".
* A title page begins with one of the keys that Fountain names, so that "Narrator: ..." stays a part of the story.
* "@Name" is a cue only above a line of dialogue: elsewhere it is an element's trigger word in an action.

A blank line ends a dialogue; a line of exactly two spaces does not, as in the reference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from milimo_storyboard.cue import cue_name, is_cue
from milimo_storyboard.emphasis import strip_emphasis
from milimo_storyboard.fountain_masks import mask
from milimo_storyboard.lines import Line, collapse, split_lines
from milimo_storyboard.parsed_script import KeptKind, KeptText
from milimo_storyboard.screenplay import Element, ElementKind

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLACE: Final = r"(?:(?:INT|EXT)\.?/(?:INT|EXT)|INT|EXT|EST|I/E)"
_HEADING = re.compile(rf"{_PLACE}[.\s]", re.IGNORECASE)
_LOUD_HEADING = re.compile(rf"{_PLACE}\.")
_SCENE_NUMBER = re.compile(r"[\w.\-]+")
_TRANSITIONS: Final = frozenset(("FADE IN", "FADE OUT", "FADE TO BLACK", "CUT TO BLACK"))
_TITLE_KEYS: Final = frozenset(
    ("title", "credit", "author", "authors", "source", "notes", "draft date", "date", "contact", "copyright")
)
_TWO_SPACES: Final = "  "


@dataclass(frozen=True, kw_only=True)
class FountainText:
    """A text read as Fountain."""

    elements: tuple[Element, ...]
    kept: tuple[KeptText, ...]  # in no order
    body_start: int  # offset behind the title page; 0 without one

    @property
    def headings(self) -> tuple[Element, ...]:
        """The scene headings."""
        return tuple(element for element in self.elements if element.kind is ElementKind.HEADING)


def is_heading(line: str, *, after_blank: bool) -> bool:
    """Whether a line (without white space around it) is a scene heading; `after_blank`: a blank line precedes it."""
    if after_blank:
        forced = line[0] == "." and line[1:2].isalnum()
        return forced or _HEADING.match(line) is not None
    return _LOUD_HEADING.match(line) is not None and line.isupper()


def is_transition(line: str) -> bool:
    """Whether a line after a blank one is a transition without ">"."""
    return line.isupper() and (line.endswith("TO:") or line.rstrip(".:") in _TRANSITIONS)


def split_scene_number(heading: str) -> tuple[str, str]:
    """Returns a heading without its scene number, and the number: "INT. HOUSE #12A#" → ("INT. HOUSE", "12A")."""
    if heading.endswith("#"):
        opening = heading.rfind("#", 0, -1)
        number = heading[opening + 1 : -1].strip()
        if opening > 0 and _SCENE_NUMBER.fullmatch(number):
            return heading[:opening].rstrip(), number
    return heading, ""


def read_fountain(text: str) -> FountainText:
    """Returns the elements of `text` in order, and what is kept beside them. Time is linear in the text."""
    masked, hidden = mask(text)
    lines = split_lines(masked)
    title, first = _title_page(lines)
    # The body begins with the first line behind the title page that is not blank.
    behind = (line.start for line in lines[first:] if not line.is_blank)
    body_start = next(behind, len(text)) if first else 0
    reader = _Reader(lines)
    reader.read(first)
    return FountainText(elements=tuple(reader.elements), kept=(*title, *reader.kept, *hidden), body_start=body_start)


def _title_page(lines: Sequence[Line]) -> tuple[list[KeptText], int]:
    """Returns the entries of the title page, and the index of the first line behind it (0 without one)."""
    first = next((index for index, line in enumerate(lines) if line.text), len(lines))
    if first == len(lines) or _title_key(lines[first].text) not in _TITLE_KEYS:
        return [], 0
    entries: list[list[Line]] = []
    index = first
    for index in range(first, len(lines)):
        line = lines[index]
        if line.is_blank or is_heading(line.text or " ", after_blank=True):
            break
        if line.is_hidden:
            continue
        if entries and line.raw[0].isspace():
            entries[-1].append(line)
        elif _title_key(line.text):
            entries.append([line])
        else:
            break
    else:
        index = len(lines)
    kept = [
        KeptText(
            kind=KeptKind.TITLE_PAGE,
            text="\n".join(line.text for line in entry),
            start=entry[0].start,
            end=entry[-1].end,
        )
        for entry in entries
    ]
    return kept, index


def _title_key(line: str) -> str:
    key, colon, _ = line.partition(":")
    return key.strip().lower() if colon else ""


class _Reader:
    """One pass over the lines; holds the paragraph and the dialogue that are open."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.elements: list[Element] = []
        self.kept: list[KeptText] = []
        self._lines = lines
        self._paragraph: list[tuple[str, Line]] = []
        self._in_dialogue = False
        self._after_blank = True

    def read(self, first: int) -> None:
        for index in range(first, len(self._lines)):
            line = self._lines[index]
            if line.text:
                if self._in_dialogue and not self._ends_dialogue(line.text):
                    self._speech(line)
                else:
                    self._in_dialogue = False
                    self._after_blank = self._outside(line, index)
            elif line.is_blank and not (self._in_dialogue and line.raw == _TWO_SPACES and self._speech_below(index)):
                self._flush()
                self._in_dialogue = False
                self._after_blank = True
        self._flush()

    def _ends_dialogue(self, line: str) -> bool:
        """A forced action or transition, or a heading, ends a dialogue without a blank line."""
        return line[0] in "!>" or is_heading(line, after_blank=False)

    def _speech(self, line: Line) -> None:
        text = line.text
        kind = ElementKind.SPEECH
        if text[0] == "~":
            text = text[1:]
        elif text[0] == "(" and text.find(")") == len(text) - 1:
            kind, text = ElementKind.PARENTHETICAL, text[1:-1]
        self._emit(kind, text, line)

    def _outside(self, line: Line, index: int) -> bool:
        """Reads a line outside a dialogue. Returns whether the next line stands as after a blank one."""
        text = line.text
        if is_heading(text, after_blank=self._after_blank):
            heading, number = split_scene_number(text[1:] if text[0] == "." else text)
            self._flush()
            self.elements.append(Element(ElementKind.HEADING, _clean(heading), line.start, line.end, number))
            return True
        mark = text[0]
        if mark == "#":
            return self._keep(KeptKind.SECTION, text.lstrip("#"), line)
        if mark == "=":  # a page break is a synopsis without words
            return self._keep(KeptKind.SYNOPSIS, text.lstrip("="), line)
        if mark == ">":
            if text[-1] != "<":
                return self._keep(KeptKind.TRANSITION, text[1:], line)
            text = text[1:-1]
        elif mark in "!~":
            text = text[1:]
        elif self._after_blank:
            if is_transition(text):
                return self._keep(KeptKind.TRANSITION, text, line)
            if self._is_cue(text, index):
                cue = _clean(text.removeprefix("@"))
                bare = cue.rstrip("^: ")
                self.elements.append(Element(ElementKind.CUE, bare, line.start, line.end, dual=cue.endswith("^")))
                self._in_dialogue = True
                return False
        self._paragraph.append((text, line))
        return False

    def _is_cue(self, text: str, index: int) -> bool:
        named = any(map(str.isalnum, cue_name(text))) if text[0] == "@" else is_cue(text)
        return named and self._speech_below(index)

    def _speech_below(self, index: int) -> bool:
        """Whether the next line that is not hidden can be a line of dialogue."""
        for below in range(index + 1, len(self._lines)):
            line = self._lines[below]
            if not line.is_hidden:
                return bool(line.text) and not self._ends_dialogue(line.text)
        return False

    def _keep(self, kind: KeptKind, text: str, line: Line) -> bool:
        self._flush()
        words = collapse(text)
        if words:
            self.kept.append(KeptText(kind=kind, text=words, start=line.start, end=line.end))
        return True

    def _emit(self, kind: ElementKind, text: str, line: Line) -> None:
        words = _clean(text)
        if words:
            self.elements.append(Element(kind, words, line.start, line.end))

    def _flush(self) -> None:
        """Ends the action paragraph."""
        if not self._paragraph:
            return
        words = " ".join([words for text, _ in self._paragraph if (words := _clean(text))])
        if words:
            first, last = self._paragraph[0][1], self._paragraph[-1][1]
            self.elements.append(Element(ElementKind.ACTION, words, first.start, last.end))
        self._paragraph.clear()


def _clean(text: str) -> str:
    return " ".join(strip_emphasis(text).split())
