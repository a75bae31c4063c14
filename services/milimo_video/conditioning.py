"""Images, videos and earlier frames that a chunk follows, as the model was trained to see them.

Training videos were compressed, so a clean image would stand out: it is compressed once as one H.264 frame (CRF 33)
first. The pipeline then scales it to cover the frame, crops the centre and encodes it, for each stage at its size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from milimo_runtime.errors import InvalidArgument
from PIL import Image, ImageOps

from milimo_video import limits
from milimo_video.continuation import LatentTail
from milimo_video.geometry import TEMPORAL_COMPRESSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

    from milimo_video.chunk import Chunk
    from milimo_video.continuation import HandOff
    from milimo_video.material import Material
    from milimo_video.request import VideoRequest

IMAGE_CRF = 33


def placed_conditions(
    request: VideoRequest, chunk: Chunk, material: Mapping[str, Material], *, append_first: bool
) -> list[LTX2VideoCondition]:
    """The chunk's conditions for the pipeline; `material` holds its images and videos by `ChunkCondition.key`.

    What stands at frame 0 replaces the first latent frames, one of an image, or with `append_first` is appended like
    what stands at other frames: as tokens of its own from its pixel frame on, for the model to follow. Raises
    `InvalidArgument` for an image that is too small.
    """
    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

    conditions = []
    for placed in chunk.conditions:
        condition = request.conditions[placed.index]
        given = material[placed.key(condition.asset_id)]
        conditions.append(
            # An image is compressed here, once for both stages, so the pipeline must not do it again.
            LTX2VideoCondition(
                frames=_image_frame(given, placed.index) if isinstance(given, Image.Image) else placed.shown(given),
                index=0 if placed.frame == 0 and not append_first else appended_index(placed.frame),
                strength=condition.strength,
                crf=0,
            )
        )
    return conditions


def _image_frame(image: Image.Image, condition: int) -> Image.Image:
    if min(image.size) < limits.MIN_CONDITION_SIDE:
        raise InvalidArgument(
            f"conditions[{condition}].asset_id",
            f"the image is {image.width} × {image.height}; both sides must be at least {limits.MIN_CONDITION_SIDE}",
        )
    return compress_image(image)


def appended_index(frame: int) -> float:
    """The index by which the pipeline appends an image at exactly this pixel frame, 0 included.

    It takes an index of latents, i, replaces what is at index 0, and appends what is at any other at the pixel frame
    8 (i − 1) + 1. That is solved for i; eighths are exact.
    """
    return (frame - 1) / TEMPORAL_COMPRESSION + 1


def tail_conditions(
    before: HandOff | None, stage: Literal["half", "full", "doubled"], *, every: int = 1
) -> list[LTX2VideoCondition | LatentTail]:
    """What a stage goes on from, at its start, and what it leads to, after its end, both at full strength.

    `stage`: at half size, at full size, or at twice the frame rate of these; it makes one frame of `every` so many of
    the result.
    """
    if before is None:
        return []
    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

    # The pipeline scales frames to the stage's size. They are not compressed: they come from a video.
    conditions: list[LTX2VideoCondition | LatentTail] = []
    if before.frames is not None:
        conditions.append(LTX2VideoCondition(frames=before.frames.numpy()[::every], index=0, strength=1.0, crf=0))
    tail = {"half": before.half, "full": before.full, "doubled": before.doubled}[stage]
    if tail is not None:
        conditions.append(LatentTail(latents=tail))
    if before.after is not None:
        index = appended_index(before.after_frame)
        conditions.append(LTX2VideoCondition(frames=before.after.numpy(), index=index, strength=1.0, crf=0))
    return conditions


def compress_image(image: Image.Image) -> Image.Image:
    """The image, EXIF-oriented, in RGB, after one H.264 frame at CRF 33; odd sides lose a pixel."""
    from diffusers.pipelines.ltx2.utils import apply_image_conditioning_crf

    upright = ImageOps.exif_transpose(image).convert("RGB")
    return Image.fromarray(apply_image_conditioning_crf(np.asarray(upright), IMAGE_CRF))
