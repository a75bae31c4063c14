"""Character cues: the line above a dialogue that says who speaks."""

from __future__ import annotations


def is_cue(line: str) -> bool:
    """Whether `line` has the form of a cue: a name in capitals with at least one cased letter.

    Extensions in parentheses ("(on the radio)", "(V.O.)") may be in any case, a caret marks a dual dialogue. Scripts
    without cases have no capitals: there a cue is forced with "@".
    """
    return line[:1] != "(" and cue_name(line).isupper()


def cue_name(cue: str) -> str:
    """Returns the name in a cue, without extensions, the caret and a closing colon: "MARY (V.O.) (CONT'D)" → "MARY"."""
    end = _trimmed(cue, len(cue))
    while end and cue[end - 1] == "^":
        end = _trimmed(cue, end - 1)
    while end and cue[end - 1] == ")":
        opening = cue.rfind("(", 0, end)
        if opening <= 0:
            break
        end = _trimmed(cue, opening)
    while end and cue[end - 1] == ":":
        end = _trimmed(cue, end - 1)
    return cue[:end].lstrip()


def _trimmed(text: str, end: int) -> int:
    while end and text[end - 1].isspace():
        end -= 1
    return end
