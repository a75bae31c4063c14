"""Prompts that name the elements of a project: what the model reads in their place, and which images show them. Pure.

An element is found by its trigger word ("@Zoe") or by its name ("Zoë"), as whole words in any case. Where two overlap
a trigger wins over a name, and a longer one over a shorter one. A trigger becomes the name, a name stays as it is
written; the first of an element's mentions is followed by its description in brackets. Descriptions are not searched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from milimo_runtime.name_search import NameSearch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

_ENDS_OF_SENTENCES: Final = (".", "!", "?", "…", ":", ";", ",", "。", "！", "？")


@dataclass(frozen=True, kw_only=True)
class PromptElement:
    """As much of an element as prompts need; `image_ids` the best first."""

    id: str
    name: str
    trigger_word: str
    description: str = ""
    image_ids: tuple[str, ...] = ()

    @property
    def phrase(self) -> str:
        """The name with the description in brackets; the name alone when there is none."""
        return self.name + self.remark

    @property
    def remark(self) -> str:
        """What follows the name: the description in brackets."""
        description = self.description.strip()
        return f" ({description})" if description else ""


@dataclass(frozen=True, kw_only=True)
class ResolvedPrompt:
    """A prompt as the model reads it, and the elements that it shows: those that were asked for, then by place."""

    text: str
    elements: tuple[PromptElement, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ElementImages:
    """Images that show elements, those of one element together; `left_out` is how many there was no room for."""

    ids: tuple[str, ...]
    left_out: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Mention:
    element: int
    start: int
    end: int
    by_trigger: bool


class PromptElements:
    """The elements of one project, ready to be found in any number of prompts."""

    def __init__(self, elements: Iterable[PromptElement]) -> None:
        """Of elements with the same name the first is found by it."""
        self._elements = tuple(elements)
        self._search = NameSearch(
            [
                *(element.trigger_word for element in self._elements),
                *(element.name.strip() for element in self._elements),
            ]
        )

    def resolve(self, prompt: str, *, asked: Sequence[PromptElement] = ()) -> ResolvedPrompt:
        """The prompt with its elements; those of `asked` that it does not mention are added at its end.

        A prompt that mentions none stays as it is. Takes time in proportion to the prompt and to its mentions.
        """
        pieces: list[str] = []
        shown = {element.id: element for element in asked}
        told: set[str] = set()
        at = 0
        for mention in self._mentions(prompt):
            element = self._elements[mention.element]
            pieces.append(prompt[at : mention.start])
            pieces.append(element.name if mention.by_trigger else prompt[mention.start : mention.end])
            at = mention.end
            # What was resolved before has its descriptions already.
            if element.id not in told and not prompt.startswith(element.remark, at):
                pieces.append(element.remark)
            told.add(element.id)
            shown.setdefault(element.id, element)
        text = "".join([*pieces, prompt[at:]])
        for element in asked:
            if element.id not in told:
                told.add(element.id)
                text = _appended(text, element.phrase)
        return ResolvedPrompt(text=text, elements=tuple(shown.values()))

    def _mentions(self, prompt: str) -> Sequence[_Mention]:
        """The mentions that count, by place: none overlaps another."""
        count = len(self._elements)
        found = [
            _Mention(element=one.index % count, start=one.start, end=one.end, by_trigger=one.index < count)
            for one in self._search.find(prompt)
        ]
        found.sort(key=lambda mention: (not mention.by_trigger, mention.start - mention.end, mention.start))
        taken = bytearray(len(prompt))
        counting = []
        for mention in found:
            if 1 not in taken[mention.start : mention.end]:
                taken[mention.start : mention.end] = b"\1" * (mention.end - mention.start)
                counting.append(mention)
        return sorted(counting, key=lambda mention: mention.start)


def images_of(elements: Iterable[PromptElement], *, room: int, given: Collection[str] = ()) -> ElementImages:
    """At most `room` images of the elements, none twice and none of those that are `given` already.

    Each element's best image comes before the second ones of others; the result has them by element.
    """
    wanted: dict[str, tuple[int, int]] = {}
    for order, element in enumerate(elements):
        for rank, image in enumerate(element.image_ids):
            if image not in given:
                wanted.setdefault(image, (rank, order))
    best = sorted(wanted, key=lambda image: wanted[image])[: max(room, 0)]
    ids = sorted(best, key=lambda image: (wanted[image][1], wanted[image][0]))
    return ElementImages(ids=tuple(ids), left_out=len(wanted) - len(ids))


def _appended(text: str, phrase: str) -> str:
    text = text.rstrip()
    if not text:
        return phrase
    return f"{text} {phrase}" if text.endswith(_ENDS_OF_SENTENCES) else f"{text}. {phrase}"
