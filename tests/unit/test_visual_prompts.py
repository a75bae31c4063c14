"""Prompts for pictures of elements."""

from __future__ import annotations

import pytest
from milimo_runtime.limits import PROMPT_CHARACTERS
from milimo_storyboard.elements import Element, ElementType
from milimo_storyboard.visual_prompts import visual_prompt


@pytest.mark.parametrize(
    ("kind", "beginning"),
    [
        (ElementType.CHARACTER, "Character sheet of Zoë: tall, {blue}. Full body"),
        (ElementType.LOCATION, "Establishing view of Zoë: tall, {blue}. Wide shot"),
        (ElementType.OBJECT, "Product picture of Zoë: tall, {blue}. The whole object"),
    ],
)
def test_the_template_follows_the_type(kind: ElementType, beginning: str) -> None:
    element = Element(project_id="p", name="Zoë", type=kind, description=" tall, {blue}. ")
    assert visual_prompt(element).startswith(beginning)


@pytest.mark.parametrize("kind", ElementType)
def test_a_long_description_loses_its_end(kind: ElementType) -> None:
    element = Element(project_id="p", name="Zoë", type=kind, description="x" * PROMPT_CHARACTERS)
    prompt = visual_prompt(element)
    assert PROMPT_CHARACTERS - 20 < len(prompt) <= PROMPT_CHARACTERS
    assert prompt.endswith("highly detailed.")


def test_a_name_alone_will_do() -> None:
    assert visual_prompt(Element(project_id="p", name="Zoë", type=ElementType.OBJECT)).startswith(
        "Product picture of Zoë. The"
    )
