"""Images that a video starts from, as the model was trained to see them.

Training videos were compressed, so a clean image would stand out: it is compressed once as one H.264 frame (CRF 33)
first. The pipeline then scales it to cover the frame, crops the centre and encodes it, for each stage at its size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from milimo_runtime.errors import InvalidArgument, Unimplemented
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

    from milimo_video.plan import Chunk
    from milimo_video.request import VideoRequest

IMAGE_CRF = 33
# H.264 with yuv420p codes blocks of two by two pixels.
_MIN_IMAGE_SIDE = 2


def start_conditions(
    request: VideoRequest, chunk: Chunk, images: Mapping[str, Image.Image]
) -> list[LTX2VideoCondition]:
    """The chunk's conditions for the pipeline; `images` holds the request's images by asset id.

    A condition at frame 0 replaces the first latent frame. Raises `Unimplemented` for any other kind or frame, and
    `InvalidArgument` for an image that is too small.
    """
    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

    conditions = []
    for placed in chunk.conditions:
        condition = request.conditions[placed.index]
        if condition.kind != "image":
            raise Unimplemented("video conditioning")
        if placed.frame != 0:
            raise Unimplemented("conditioning on a frame other than the first")
        image = images[condition.asset_id]
        if min(image.size) < _MIN_IMAGE_SIDE:
            raise InvalidArgument(
                f"conditions[{placed.index}].asset_id",
                f"the image is {image.width} × {image.height}; both sides must be at least {_MIN_IMAGE_SIDE}",
            )
        conditions.append(
            # The image is compressed here, once for both stages, so the pipeline must not do it again.
            LTX2VideoCondition(frames=compress_image(image), index=0, strength=condition.strength, crf=0)
        )
    return conditions


def compress_image(image: Image.Image) -> Image.Image:
    """The image, EXIF-oriented, in RGB, after one H.264 frame at CRF 33; odd sides lose a pixel."""
    from diffusers.pipelines.ltx2.utils import apply_image_conditioning_crf

    upright = ImageOps.exif_transpose(image).convert("RGB")
    return Image.fromarray(apply_image_conditioning_crf(np.asarray(upright), IMAGE_CRF))
