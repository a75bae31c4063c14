"""Image requests between the contract, this service's own types, and the JSON that a job keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from milimo.v1 import image_pb2
from milimo_runtime.errors import Unimplemented

from milimo_image.request import ImageFormat, ImageRequest, ReferenceMode

if TYPE_CHECKING:
    from collections.abc import Mapping

_FORMATS: Final = {
    image_pb2.IMAGE_FORMAT_UNSPECIFIED: ImageFormat.JPEG,
    image_pb2.IMAGE_FORMAT_JPEG: ImageFormat.JPEG,
    image_pb2.IMAGE_FORMAT_PNG: ImageFormat.PNG,
}
_OPTIONAL: Final = ("width", "height", "steps", "guidance", "seed", "count", "cfg_scale", "enable_ae")


def request_from(image: image_pb2.ImageParameters) -> ImageRequest:
    """The request. Raises Unimplemented for references and elements, which come later."""
    if image.reference_asset_ids or image.element_ids:
        raise Unimplemented("reference images")
    if image.enhance_prompt:
        raise Unimplemented("enriching prompts")
    given = {field.name: value for field, value in image.ListFields() if field.name in _OPTIONAL}
    return ImageRequest(
        prompt=image.prompt,
        negative_prompt=image.negative_prompt,
        enable_true_cfg=image.enable_true_cfg,
        format=_FORMATS[image.format],
        **given,
    )


def to_json(request: ImageRequest, seed: int) -> dict[str, Any]:
    """The request as a job keeps it, with the seed that was drawn."""
    return {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "width": request.width,
        "height": request.height,
        "steps": request.steps,
        "guidance": request.guidance,
        "seed": seed,
        "count": request.count,
        "enable_true_cfg": request.enable_true_cfg,
        "cfg_scale": request.cfg_scale,
        "enable_ae": request.enable_ae,
        "reference_mode": request.reference_mode.value,
        "format": request.format.value,
    }


def from_json(value: Mapping[str, Any]) -> ImageRequest:
    """The request that `to_json` made this of."""
    return ImageRequest(
        **{
            **value,
            "reference_mode": ReferenceMode(value["reference_mode"]),
            "format": ImageFormat(value["format"]),
        }
    )
