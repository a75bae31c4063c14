"""Images and earlier frames that a chunk follows, as the model was trained to see them.

Training videos were compressed, so a clean image would stand out: it is compressed once as one H.264 frame (CRF 33)
first. The pipeline then scales it to cover the frame, crops the centre and encodes it, for each stage at its size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from milimo_runtime.errors import InvalidArgument, Unimplemented
from PIL import Image, ImageOps

from milimo_video.continuation import LatentTail
from milimo_video.geometry import TEMPORAL_COMPRESSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

    from milimo_video.continuation import HandOff
    from milimo_video.plan import Chunk
    from milimo_video.request import VideoRequest

IMAGE_CRF = 33
# H.264 with yuv420p codes blocks of two by two pixels.
_MIN_IMAGE_SIDE = 2


def image_conditions(
    request: VideoRequest, chunk: Chunk, images: Mapping[str, Image.Image], *, append_first: bool
) -> list[LTX2VideoCondition]:
    """The chunk's conditions for the pipeline; `images` holds the request's images by asset id.

    An image at frame 0 replaces the first latent frame, or with `append_first` is appended like those at other frames:
    as tokens of their own that stand at their pixel frame, for the model to follow. Raises `Unimplemented` for a video,
    and `InvalidArgument` for an image that is too small.
    """
    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

    conditions = []
    for placed in chunk.conditions:
        condition = request.conditions[placed.index]
        if condition.kind != "image":
            raise Unimplemented("video conditioning")
        image = images[condition.asset_id]
        if min(image.size) < _MIN_IMAGE_SIDE:
            raise InvalidArgument(
                f"conditions[{placed.index}].asset_id",
                f"the image is {image.width} × {image.height}; both sides must be at least {_MIN_IMAGE_SIDE}",
            )
        conditions.append(
            # The image is compressed here, once for both stages, so the pipeline must not do it again.
            LTX2VideoCondition(
                frames=compress_image(image),
                index=0 if placed.frame == 0 and not append_first else appended_index(placed.frame),
                strength=condition.strength,
                crf=0,
            )
        )
    return conditions


def appended_index(frame: int) -> float:
    """The index by which the pipeline appends an image at exactly this pixel frame, 0 included.

    It takes an index of latents, i, replaces what is at index 0, and appends what is at any other at the pixel frame
    8 (i − 1) + 1. That is solved for i; eighths are exact.
    """
    return (frame - 1) / TEMPORAL_COMPRESSION + 1


def tail_conditions(before: HandOff | None, *, half: bool) -> list[LTX2VideoCondition | LatentTail]:
    """What the chunk before hands over to a stage, at its start and at full strength; nothing for the first chunk."""
    if before is None:
        return []
    if before.frames is not None:
        from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

        # The pipeline scales them to the stage's size. Not compressed: the model made them.
        return [LTX2VideoCondition(frames=before.frames.numpy(), index=0, strength=1.0, crf=0)]
    tail = before.half if half else before.full
    assert tail is not None, "a hand-off holds frames or latents"
    return [LatentTail(latents=tail)]


def compress_image(image: Image.Image) -> Image.Image:
    """The image, EXIF-oriented, in RGB, after one H.264 frame at CRF 33; odd sides lose a pixel."""
    from diffusers.pipelines.ltx2.utils import apply_image_conditioning_crf

    upright = ImageOps.exif_transpose(image).convert("RGB")
    return Image.fromarray(apply_image_conditioning_crf(np.asarray(upright), IMAGE_CRF))
