"""Which masks a request to inpaint may name. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo_runtime.errors import InvalidArgument

from milimo_image import defaults

if TYPE_CHECKING:
    from milimo_image.request import Inpaint, MaskPrompt, Reference


def check_mask(inpaint: Inpaint) -> None:
    """Raises InvalidArgument: nothing says what to repaint, or what does cannot fit the image."""
    if inpaint.mask is None and inpaint.mask_prompt is None and inpaint.outpaint.is_empty:
        raise InvalidArgument(
            "mask", "is missing: give mask_asset_id, mask_prompt or mask_text, or a canvas that grows (outpaint)"
        )
    if inpaint.mask is not None:
        _check_size(inpaint.mask, inpaint.image)
    if inpaint.mask_prompt is not None and not inpaint.mask_prompt.text:
        _check_prompt(inpaint.mask_prompt, inpaint.image)


def _check_size(mask: Reference, image: Reference) -> None:
    # The same proportions, but for rounding.
    difference = abs(mask.width * image.height / (mask.height * image.width) - 1)
    if difference > defaults.MASK_ASPECT_TOLERANCE:
        raise InvalidArgument(
            "mask_asset_id",
            f"is {mask.width} × {mask.height}, the image {image.width} × {image.height}; "
            "expected the same size or the same proportions",
        )


def _check_prompt(prompt: MaskPrompt, image: Reference) -> None:
    points, boxes = prompt.points, prompt.boxes
    if not boxes and not any(point.positive for point in points):
        raise InvalidArgument("mask_prompt", "shows nothing: give a point on the object, or a box around it")
    if points and len(boxes) > 1:
        raise InvalidArgument(
            "mask_prompt.points", "go with one box at most: several boxes are as many objects, told apart by nothing"
        )
    for index, point in enumerate(points):
        _check_inside(f"mask_prompt.points[{index}].x", point.x, image.width)
        _check_inside(f"mask_prompt.points[{index}].y", point.y, image.height)
    for index, box in enumerate(boxes):
        for name, value, limit in (
            ("x0", box.x0, image.width),
            ("y0", box.y0, image.height),
            ("x1", box.x1, image.width),
            ("y1", box.y1, image.height),
        ):
            _check_inside(f"mask_prompt.boxes[{index}].{name}", value, limit)


def _check_inside(field: str, value: float, limit: int) -> None:
    if not 0 <= value <= limit:
        raise InvalidArgument(field, f"is {value:g}; expected 0 to {limit}, inside the image")
