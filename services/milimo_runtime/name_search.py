"""Whole names in a text: all of them in one pass, without difference of case, accents' encoding, or white space.

Names are found by one automaton. Text and names are compared as Unicode's canonical caseless matching does ("Zoë" is
"ZOË", however the accent is encoded); a run of white space is one space, and apostrophes are all alike. Pure.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ahocorasick_rs import AhoCorasick

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# One character for one: these leave every place where it is.
_ALIKE: Final = str.maketrans({"\u2018": "'", "\u2019": "'", "\u02bc": "'", "\t": " ", "\n": " ", "\r": " "})
# Where words are written without spaces between them, each character may begin or end one (Unicode's annex 29).
_UNSPACED: Final = (
    (0x3040, 0x309F),  # Hiragana
    (0x3400, 0x4DBF),  # ideographs
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
)
# Vowels and final consonants of Korean syllables that are written in parts.
_JAMO: Final = (0x1160, 0x11FF)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Name number `index` stands at `text[start:end]`."""

    index: int
    start: int
    end: int


class NameSearch:
    """Finds any of many names. Of names that are alike the first is found; what has no letter or digit never is."""

    def __init__(self, names: Iterable[str]) -> None:
        first: dict[str, int] = {}
        for index, name in enumerate(names):
            folded = fold(name)
            if any(map(_in_word, folded)):
                first.setdefault(folded, index)
        self._names: Sequence[int] = tuple(first.values())
        self._automaton = AhoCorasick(first)

    def find(self, text: str) -> list[Found]:
        """Every place where a name stands as a whole word or words; places of different names may overlap.

        Takes time in proportion to the text and to what is found.
        """
        if not self._names:
            return []
        folded, starts = _folded(text)
        found = []
        for name, first, last in self._automaton.find_matches_as_indexes(folded, overlapping=True):
            if (first and starts[first] == starts[first - 1]) or starts[last] == starts[last - 1]:
                continue  # It begins or ends within a character of the text.
            start, end = starts[first], starts[last]
            if _whole(text, start, end):
                found.append(Found(index=self._names[name], start=start, end=end))
        return found


def fold(name: str) -> str:
    """The name as it is compared with others."""
    return _folded(name.strip())[0]


def _folded(text: str) -> tuple[str, Sequence[int]]:
    """The text as it is compared, and where each of its characters, and the end, comes from."""
    alike = text.translate(_ALIKE)
    if text.isascii() and alike.isprintable() and "  " not in alike:
        return alike.lower(), range(len(text) + 1)
    pieces: list[str] = []
    starts: list[int] = []
    at = 0
    while at < len(alike):
        after = at + 1
        if alike[at].isspace():
            piece = " "
            while after < len(alike) and alike[after].isspace():
                after += 1
        else:
            while after < len(alike) and _continues(alike[after]):
                after += 1
            # In this order: a fold of decomposed letters, in the shortest spelling.
            decomposed = unicodedata.normalize("NFD", alike[at:after])
            piece = unicodedata.normalize("NFC", unicodedata.normalize("NFD", decomposed.casefold()))
        pieces.append(piece)
        starts.extend([at] * len(piece))
        at = after
    return "".join(pieces), [*starts, len(text)]


def _continues(character: str) -> bool:
    """Whether it belongs to the character before it."""
    return unicodedata.category(character)[0] == "M" or _JAMO[0] <= ord(character) <= _JAMO[1]


def _whole(text: str, start: int, end: int) -> bool:
    """Whether no word goes on before the start, or behind the end."""
    return (start == 0 or not _in_word(text[start - 1]) or _unspaced(text, start)) and (
        end == len(text) or not _in_word(text[end]) or _unspaced(text, end)
    )


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_" or unicodedata.category(character)[0] == "M"


def _unspaced(text: str, at: int) -> bool:
    """Whether the characters on either side are of a script in which each may begin or end a word."""
    return any(first <= ord(character) <= last for character in text[at - 1 : at + 1] for first, last in _UNSPACED)
