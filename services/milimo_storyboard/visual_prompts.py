"""Prompts for pictures of elements: a character sheet, a location, an object. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from milimo_runtime.limits import PROMPT_CHARACTERS

from milimo_storyboard.elements import ElementType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from milimo_storyboard.elements import Element

# Pictures of elements are square, in pixels a side.
VISUAL_SIDE: Final = 1024

_TEMPLATES: Final[Mapping[ElementType, str]] = {
    ElementType.CHARACTER: (
        "Character sheet of {subject}. Full body from the front, from the side and from behind, and a close-up of the "
        "face; the same figure in every view. Plain light background, even studio light, highly detailed."
    ),
    ElementType.LOCATION: (
        "Establishing view of {subject}. Wide shot of the whole place, without people, natural perspective, cinematic "
        "light, highly detailed."
    ),
    ElementType.OBJECT: (
        "Product picture of {subject}. The whole object, alone, seen from slightly above. Plain light background, even "
        "studio light, highly detailed."
    ),
}


def visual_prompt(element: Element) -> str:
    """The prompt for a picture of the element, from its type, name and description, at most as long as prompts may be.

    A description that is too long for that loses its end.
    """
    if element.type is None:
        raise ValueError("an element that is stored has a type")
    template = _TEMPLATES[element.type]
    description = element.description.strip().rstrip(".")
    subject = f"{element.name}: {description}" if description else element.name
    return template.format(subject=subject[: PROMPT_CHARACTERS - len(template)])
