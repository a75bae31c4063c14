"""Scripts: from text to scenes and shots. Deterministic: the same text and mode always give the same result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from milimo_runtime.errors import InvalidArgument

from milimo_storyboard.final_draft import looks_like_final_draft, plain_text, read_final_draft
from milimo_storyboard.fountain import FountainText, read_fountain
from milimo_storyboard.freeform import freeform_shots
from milimo_storyboard.lines import split_lines
from milimo_storyboard.numbered import numbered_lines, numbered_shots
from milimo_storyboard.parsed_script import ParsedScene, ParsedScript, ParsedShot, ScriptMode
from milimo_storyboard.screenplay import assemble

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milimo_storyboard.screenplay import Element

_BYTE_ORDER_MARK: Final = "\ufeff"
# What makes a list of shots: this many numbered lines, and this share of the lines that are not blank.
_MIN_NUMBERED_LINES: Final = 2
_MIN_NUMBERED_SHARE: Final = 0.5
_QUOTED: Final = 60  # characters of a heading in a reason


def parse_script(text: str, mode: ScriptMode) -> ParsedScript:
    """Returns the scenes and shots of a script, with their places in `text` as offsets in characters.

    The mode is taken at its word; AUTO chooses: XML is a Final Draft document; a scene heading makes a screenplay; at
    least two numbered lines that are at least half of all make a numbered list; the rest is freeform. SCREENPLAY reads
    Final Draft's XML as well as Fountain. Time is linear in the text.

    Raises InvalidArgument("script") for a text that is blank or holds a NUL, and for XML that is unsafe, broken or no
    Final Draft document.
    """
    # A byte order mark becomes a space, so that all offsets stay.
    body = " " + text[1:] if text.startswith(_BYTE_ORDER_MARK) else text
    if not body or body.isspace():
        raise InvalidArgument("script", "the script is empty; write at least one line")
    nul = body.find("\0")
    if nul >= 0:
        raise InvalidArgument("script", f"there is a NUL character at offset {nul}; is this a binary file?")
    if mode in (ScriptMode.AUTO, ScriptMode.SCREENPLAY) and looks_like_final_draft(body):
        return _final_draft(text, body)
    asked = f"mode {mode.value} was asked for"
    if mode is ScriptMode.SCREENPLAY:
        return _screenplay(text, read_fountain(body), asked)
    if mode is ScriptMode.AUTO:
        fountain = read_fountain(body)
        if fountain.headings:
            heading = fountain.headings[0].text
            shown = heading if len(heading) <= _QUOTED else heading[:_QUOTED] + "…"
            return _screenplay(text, fountain, f'there is a scene heading: "{shown}"')
    lines = split_lines(body)
    if mode is ScriptMode.NUMBERED:
        return _one_scene(text, numbered_shots(lines), mode, asked)
    if mode is ScriptMode.FREEFORM:
        return _one_scene(text, freeform_shots(lines), mode, asked)
    numbered, filled = numbered_lines(lines), sum(bool(line.text) for line in lines)
    counted = f"there is no scene heading, and {numbered} of {filled} lines are numbered"
    if numbered >= _MIN_NUMBERED_LINES and numbered >= _MIN_NUMBERED_SHARE * filled:
        return _one_scene(text, numbered_shots(lines), ScriptMode.NUMBERED, counted)
    return _one_scene(text, freeform_shots(lines), ScriptMode.FREEFORM, counted)


def _screenplay(text: str, fountain: FountainText, reason: str) -> ParsedScript:
    def content(start: int, end: int, _elements: Sequence[Element]) -> str:
        return text[start:end]

    scenes, kept = assemble(fountain.elements, fountain.kept, start=fountain.body_start, end=len(text), content=content)
    return ParsedScript(mode=ScriptMode.SCREENPLAY, reason=reason, final_draft=False, scenes=scenes, kept=kept)


def _final_draft(text: str, body: str) -> ParsedScript:
    document = read_final_draft(body)

    def content(_start: int, _end: int, elements: Sequence[Element]) -> str:
        return plain_text(elements)

    scenes, kept = assemble(
        document.elements, document.kept, start=document.body_start, end=document.body_end, content=content
    )
    reason = "it is a Final Draft document"
    return ParsedScript(mode=ScriptMode.SCREENPLAY, reason=reason, final_draft=True, scenes=scenes, kept=kept)


def _one_scene(text: str, shots: tuple[ParsedShot, ...], mode: ScriptMode, reason: str) -> ParsedScript:
    scene = ParsedScene(start=0, end=len(text), content=text, shots=shots)
    return ParsedScript(mode=mode, reason=reason, final_draft=False, scenes=(scene,))
