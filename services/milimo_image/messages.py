"""Image requests between the contract, this service's own types, and the JSON that a job keeps."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from milimo.v1 import image_pb2
from milimo_runtime.assets import AssetKind, require_asset
from milimo_runtime.errors import InvalidArgument

from milimo_image.request import (
    Box,
    Click,
    ImageFormat,
    ImageRequest,
    Inpaint,
    MaskPrompt,
    Outpaint,
    Reference,
    ReferenceMode,
)

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
_SIDES: Final = ("left", "top", "right", "bottom")
_MODES: Final = {
    image_pb2.REFERENCE_MODE_UNSPECIFIED: ReferenceMode.AUTO,
    image_pb2.REFERENCE_MODE_TOKENS: ReferenceMode.TOKENS,
    image_pb2.REFERENCE_MODE_IP_ADAPTER: ReferenceMode.IP_ADAPTER,
    image_pb2.REFERENCE_MODE_BOTH: ReferenceMode.BOTH,
}


def request_from(
    session: Session, project_id: str, image: image_pb2.ImageParameters, *, has_provider: bool = False
) -> ImageRequest:
    """The request, with the sizes of its references. `has_provider`: prompts are enriched unless it says otherwise.

    Raises:
        NotFound: there is no such asset in the project.
        InvalidArgument: a reference is no image.
    """
    given = {field.name: value for field, value in image.ListFields() if field.name in _OPTIONAL}
    return ImageRequest(
        prompt=image.prompt,
        negative_prompt=image.negative_prompt,
        enable_true_cfg=image.enable_true_cfg,
        references=_references(session, project_id, image.reference_asset_ids, "image.reference_asset_ids"),
        reference_mode=_MODES[image.reference_mode],
        enhance_prompt=image.enhance_prompt if image.HasField("enhance_prompt") else has_provider,
        format=_FORMATS[image.format],
        **given,
    )


def inpaint_request_from(session: Session, project_id: str, message: image_pb2.InpaintParameters) -> ImageRequest:
    """The request, with the sizes of its images. Raises as `request_from` does."""
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
        reference_mode=_MODES[message.reference_mode],
        inpaint=Inpaint(
            image=_reference(session, project_id, message.asset_id, "inpaint.asset_id", {AssetKind.IMAGE}),
            mask=_mask_asset(session, project_id, message),
            mask_prompt=_mask_prompt(message),
            outpaint=Outpaint(**{side: getattr(message.outpaint, side) for side in _SIDES}),
            **options,
        ),
        # Only a lossless file keeps what is outside the mask.
        format=_FORMATS[message.format or image_pb2.IMAGE_FORMAT_PNG],
        **given,
    )


def _mask_asset(session: Session, project_id: str, message: image_pb2.InpaintParameters) -> Reference | None:
    if message.WhichOneof("mask") != "mask_asset_id":
        return None
    kinds = {AssetKind.IMAGE, AssetKind.MASK}
    return _reference(session, project_id, message.mask_asset_id, "inpaint.mask_asset_id", kinds)


def _mask_prompt(message: image_pb2.InpaintParameters) -> MaskPrompt | None:
    match message.WhichOneof("mask"):
        case "mask_text":
            return MaskPrompt(text=message.mask_text)
        case "mask_prompt":
            prompt = message.mask_prompt
            return MaskPrompt(
                points=tuple(
                    Click(x=point.x, y=point.y, positive=point.positive if point.HasField("positive") else True)
                    for point in prompt.points
                ),
                boxes=tuple(Box(x0=box.x0, y0=box.y0, x1=box.x1, y1=box.y1) for box in prompt.boxes),
            )
        case _:
            return None


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
        "original_prompt": request.original_prompt,
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
        "enhance_prompt": request.enhance_prompt,
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
    mask, prompt = value.get("mask"), value.get("mask_prompt")
    return Inpaint(
        **{
            **value,
            "image": Reference(**value["image"]),
            "mask": None if mask is None else Reference(**mask),
            "mask_prompt": None if prompt is None else _prompt(prompt),
            "outpaint": Outpaint(**value.get("outpaint", {})),
        }
    )


def _prompt(value: Mapping[str, Any]) -> MaskPrompt:
    return MaskPrompt(
        text=value["text"],
        points=tuple(Click(**point) for point in value["points"]),
        boxes=tuple(Box(**box) for box in value["boxes"]),
    )
