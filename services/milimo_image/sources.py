"""Images that a job works from, out of the media store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import PIL.Image
from milimo_runtime.assets import require_asset
from milimo_runtime.images import FORMATS, decode_image
from PIL import ImageChops, ImageOps

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from milimo_runtime.model_process import ModelProcess
    from PIL.Image import Image


def read_image(process: ModelProcess[Any], asset_id: str, *, field: str) -> Image:
    """The asset as an upright RGB image. Raises NotFound when it was deleted meanwhile, InvalidArgument."""
    with process.database.read() as session:
        asset = require_asset(session, asset_id, field_name=field)
    with process.media.local(asset.key, scratch=process.scratch) as path:
        return decode_image(path, field=field)


def read_mask(process: ModelProcess[Any], asset_id: str, *, field: str) -> Image:
    """The asset as an upright mask of mode "L". What is transparent is not masked. Raises as `read_image` does."""
    with process.database.read() as session:
        asset = require_asset(session, asset_id, field_name=field)
    with process.media.local(asset.key, scratch=process.scratch) as path:
        mask = decode_image(path, field=field).convert("L")
        alpha = _alpha(path)
    return mask if alpha is None else ImageChops.multiply(mask, alpha)


def read_found_mask(process: ModelProcess[Any], key: str) -> Image:
    """A mask that a step of the job left in the media store, of mode "L"."""
    with process.media.local(key, scratch=process.scratch) as path:
        return decode_image(path, field="mask").convert("L")


def _alpha(path: Path) -> Image | None:
    """The opacity of an image that was decoded before, upright; `None` when all of it is opaque."""
    with PIL.Image.open(path, formats=FORMATS) as image:
        if not image.has_transparency_data:
            return None
        return ImageOps.exif_transpose(image).convert("RGBA").getchannel("A")


def read_references(
    process: ModelProcess[Any], asset_ids: Sequence[str], *, field: str, max_pixels: int
) -> Sequence[Image]:
    """The assets as references, one after the other: at most one of them is in memory at its full size."""
    from milimo_image.references import fit_reference

    return [
        fit_reference(read_image(process, asset_id, field=f"{field}[{index}]"), max_pixels=max_pixels)
        for index, asset_id in enumerate(asset_ids)
    ]
