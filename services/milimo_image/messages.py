"""Image requests between the contract, this service's own types, and the JSON that a job keeps."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from milimo.v1 import image_pb2
from milimo_runtime.assets import AssetKind, require_asset
from milimo_runtime.errors import InvalidArgument, Unimplemented

from milimo_image.request import ImageFormat, ImageRequest, Inpaint, Reference, ReferenceMode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from sqlalchemy.orm import Session

_FORMATS: Final = {
    image_pb2.IMAGE_FORMAT_UNSPECIFIED: ImageFormat.JPEG,
    image_pb2.IMAGE_FORMAT_JPEG: ImageFormat.JPEG,
    image_pb2.IMAGE_FORMAT_PNG: ImageFormat.PNG,
}
_OPTIONAL: Final = ("width", "height", "steps", "guidance", "seed", "count", "cfg_scale", "enable_ae")


_MODES: Final = {
    image_pb2.REFERENCE_MODE_UNSPECIFIED: ReferenceMode.AUTO,
    image_pb2.REFERENCE_MODE_TOKENS: ReferenceMode.TOKENS,
}


def request_from(session: Session, project_id: str, image: image_pb2.ImageParameters) -> ImageRequest:
    """The request, with the sizes of its references.

    Raises:
        NotFound: there is no such asset in the project.
        InvalidArgument: a reference is no image.
        Unimplemented: an option whose feature comes later.
    """
    if image.element_ids:
        raise Unimplemented("elements as references")
    if image.reference_mode not in _MODES:
        raise Unimplemented("the IP-Adapter")
    if image.enhance_prompt:
        raise Unimplemented("enriching prompts")
    given = {field.name: value for field, value in image.ListFields() if field.name in _OPTIONAL}
    return ImageRequest(
        prompt=image.prompt,
        negative_prompt=image.negative_prompt,
        enable_true_cfg=image.enable_true_cfg,
        references=_references(session, project_id, image.reference_asset_ids, "image.reference_asset_ids"),
        reference_mode=_MODES[image.reference_mode],
        format=_FORMATS[image.format],
        **given,
    )


def inpaint_request_from(session: Session, project_id: str, message: image_pb2.InpaintParameters) -> ImageRequest:
    """The request, with the sizes of its images. Raises as `request_from` does."""
    if message.WhichOneof("mask") != "mask_asset_id":
        raise Unimplemented("masks from clicks and from text")
    if message.HasField("outpaint"):
        raise Unimplemented("outpainting")
    given = {
        field.name: value
        for field, value in message.ListFields()
        if field.name in ("seed", "steps", "guidance", "cfg_scale", "enable_ae")
    }
    options = {
        field.name: value
        for field, value in message.ListFields()
        if field.name in ("strength", "feather", "crop_padding")
    }
    return ImageRequest(
        prompt=message.prompt,
        negative_prompt=message.negative_prompt,
        enable_true_cfg=message.enable_true_cfg,
        references=_references(session, project_id, message.reference_asset_ids, "inpaint.reference_asset_ids"),
        inpaint=Inpaint(
            image=_reference(session, project_id, message.asset_id, "inpaint.asset_id", {AssetKind.IMAGE}),
            mask=_reference(
                session, project_id, message.mask_asset_id, "inpaint.mask_asset_id", {AssetKind.IMAGE, AssetKind.MASK}
            ),
            **options,
        ),
        # Only a lossless file keeps what is outside the mask.
        format=_FORMATS[message.format or image_pb2.IMAGE_FORMAT_PNG],
        **given,
    )


def _references(session: Session, project_id: str, ids: Sequence[str], field: str) -> tuple[Reference, ...]:
    return tuple(
        _reference(session, project_id, asset_id, f"{field}[{index}]", {AssetKind.IMAGE})
        for index, asset_id in enumerate(ids)
    )


def _reference(
    session: Session, project_id: str, asset_id: str, field: str, kinds: AbstractSet[AssetKind]
) -> Reference:
    asset = require_asset(session, asset_id, field_name=field, project_id=project_id)
    if asset.kind not in kinds:
        raise InvalidArgument(field, f"is a {asset.kind}; {' or '.join(sorted(kinds))} is expected")
    return Reference(asset_id=asset.id, width=asset.width, height=asset.height)


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
        "references": [asdict(reference) for reference in request.references],
        "inpaint": None if request.inpaint is None else asdict(request.inpaint),
        "reference_mode": request.reference_mode.value,
        "format": request.format.value,
    }


def from_json(value: Mapping[str, Any]) -> ImageRequest:
    """The request that `to_json` made this of."""
    return ImageRequest(
        **{
            **value,
            # Jobs of the versions before had none.
            "references": tuple(Reference(**reference) for reference in value.get("references", ())),
            "inpaint": _inpaint(value.get("inpaint")),
            "reference_mode": ReferenceMode(value["reference_mode"]),
            "format": ImageFormat(value["format"]),
        }
    )


def _inpaint(value: Mapping[str, Any] | None) -> Inpaint | None:
    if value is None:
        return None
    return Inpaint(**{**value, "image": Reference(**value["image"]), "mask": Reference(**value["mask"])})
