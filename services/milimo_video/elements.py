"""Elements of the project in video requests: their words in the prompts, and an image of one to start from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from milimo_runtime.assets import AssetKind
from milimo_runtime.element_prompts import PromptElements
from milimo_runtime.elements import image_assets, names_of, prompt_elements, resolve_prompt

from milimo_video.plan_notices import Notice
from milimo_video.request import Condition, PipelineOverride

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milimo_runtime.element_prompts import PromptElement
    from sqlalchemy.orm import Session

    from milimo_video.request import VideoRequest


def with_elements(session: Session, project_id: str, request: VideoRequest) -> tuple[VideoRequest, tuple[Notice, ...]]:
    """The request as it is made, and what its caller should know of it: done once, when the job is taken in.

    A video that would be made of words alone starts from the best image of the first element that its prompt names and
    that has one. The prompts of further chunks have their elements too.

    Raises:
        InvalidArgument: with the descriptions a prompt is too long.
    """
    known = PromptElements(prompt_elements(session, project_id))
    resolved = resolve_prompt(known, request.prompt, field_name="prompt")
    chunks = tuple(
        resolve_prompt(known, prompt, field_name=f"chunk_prompts[{index}]").text
        for index, prompt in enumerate(request.chunk_prompts)
    )
    request = replace(
        request,
        prompt=resolved.text,
        original_prompt=request.prompt if resolved.text != request.prompt else "",
        chunk_prompts=chunks,
    )
    if not resolved.elements:
        return request, ()
    notices = [Notice(code="ELEMENTS_SHOWN", text=f"shows {names_of(resolved.elements)}")]
    start = _start(session, resolved.elements) if _is_of_words_alone(request) else None
    if start is not None:
        element, image = start
        request = replace(request, conditions=(Condition(asset_id=image, kind="image"),))
        notices.append(Notice(code="ELEMENT_START_IMAGE", text=f"starts from an image of {element.name}"))
    return request, tuple(notices)


def _is_of_words_alone(request: VideoRequest) -> bool:
    """Whether the request has no picture of any kind, and one to start from would not change what it asks for."""
    return (
        not request.conditions
        and request.extension is None
        and request.retake is None
        and request.num_frames > 1
        and request.pipeline_override in (PipelineOverride.AUTO, PipelineOverride.TI2VID)
        and not any(lora.in_context for lora in request.loras)
    )


def _start(session: Session, elements: Sequence[PromptElement]) -> tuple[PromptElement, str] | None:
    assets = image_assets(session, elements)
    for element in elements:
        for image in element.image_ids:
            if image in assets and assets[image].kind is AssetKind.IMAGE:
                return element, image
    return None
