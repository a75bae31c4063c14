"""Elements of the project in image requests: their words in the prompt, their images among the references."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from milimo_runtime.element_prompts import PromptElements, images_of
from milimo_runtime.elements import (
    asked_elements,
    image_assets,
    names_of,
    prompt_elements,
    require_element,
    resolve_prompt,
)
from milimo_runtime.jobs import Notice

from milimo_image import defaults
from milimo_image.request import Reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milimo_runtime.assets import Asset
    from sqlalchemy.orm import Session

    from milimo_image.request import ImageRequest


def with_elements(
    session: Session,
    project_id: str,
    request: ImageRequest,
    element_ids: Sequence[str],
    *,
    below: str,
    subject: str = "",
) -> tuple[ImageRequest, tuple[Notice, ...]]:
    """The request as it is made, and what its caller should know of it: done once, when the job is taken in.

    The references that were given come first, then images of the elements, as many as there is room for. `subject` is
    the element that the image is made for: its own words stay as they are. Errors name fields below `below`.

    Raises:
        NotFound: an element that the request names is not in the project.
        InvalidArgument: with the descriptions the prompt is too long.
    """
    if subject:
        require_element(session, subject, field_name=f"{below}.element_id", project_id=project_id)
    elements = prompt_elements(session, project_id)
    resolved = resolve_prompt(
        PromptElements(element for element in elements if element.id != subject),
        request.prompt,
        field_name=f"{below}.prompt",
        asked=asked_elements(elements, element_ids, field_name=f"{below}.element_ids"),
    )
    if not resolved.elements:
        return request, ()
    assets = image_assets(session, resolved.elements)
    fitting = [
        replace(element, image_ids=tuple(id_ for id_ in element.image_ids if id_ in assets and _fits(assets[id_])))
        for element in resolved.elements
    ]
    chosen = images_of(
        fitting,
        room=defaults.MAX_REFERENCES - len(request.references),
        given={reference.asset_id for reference in request.references},
    )
    notices = [
        Notice(
            code="ELEMENTS_SHOWN",
            text=f"shows {names_of(resolved.elements)}, with {len(chosen.ids)} of their images as references",
        )
    ]
    if chosen.left_out:
        notices.append(
            Notice(
                code="ELEMENT_IMAGES_LEFT_OUT",
                text=f"{chosen.left_out} images of elements are left out: "
                f"an image has at most {defaults.MAX_REFERENCES} references",
            )
        )
    unfit = {id_ for element in resolved.elements for id_ in element.image_ids} - {
        id_ for element in fitting for id_ in element.image_ids
    }
    if unfit:
        notices.append(
            Notice(
                code="ELEMENT_IMAGES_UNFIT",
                text=f"{len(unfit)} images of elements are too small or too narrow for references, or were deleted",
            )
        )
    references = [Reference(asset_id=id_, width=assets[id_].width, height=assets[id_].height) for id_ in chosen.ids]
    changed = replace(
        request,
        prompt=resolved.text,
        original_prompt=request.prompt if resolved.text != request.prompt else "",
        references=(*request.references, *references),
    )
    return changed, tuple(notices)


def _fits(asset: Asset) -> bool:
    """Whether the plan takes it as a reference."""
    small, large = sorted((asset.width, asset.height))
    return small >= defaults.MIN_REFERENCE_SIDE and large <= defaults.MAX_REFERENCE_ASPECT * small
