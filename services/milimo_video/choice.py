"""Which pipeline makes a request, and why: the first row that holds.

1. One frame: an image.
2. The caller insists: that one, or an error when its inputs are missing.
3. Images at two or more different frames: keyframe.
4. A video condition, or an IC-LoRA: ic_lora.
5. Otherwise: ti2vid.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from milimo_runtime.errors import InvalidArgument

from milimo_video.request import PipelineOverride, VideoRequest
from milimo_video.validation import resolve_frame


class Pipeline(StrEnum):
    """A way to make a request. IMAGE is made by ImageService; the others are made here."""

    IMAGE = "image"
    TI2VID = "ti2vid"
    IC_LORA = "ic_lora"
    KEYFRAME = "keyframe"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A pipeline and the reason for it, as a sentence for the user."""

    pipeline: Pipeline
    reason: str


def choose_pipeline(request: VideoRequest) -> Choice:
    """The pipeline for a valid request. Raises `InvalidArgument` when an override lacks its inputs."""
    if request.num_frames == 1 and request.extension is None and request.retake is None:  # 1
        return Choice(pipeline=Pipeline.IMAGE, reason="a single frame is an image, which ImageService makes")
    frames = image_frames(request)
    references = _references(request)
    match request.pipeline_override:  # 2
        case PipelineOverride.TI2VID:
            return Choice(pipeline=Pipeline.TI2VID, reason="the request asks for ti2vid")
        case PipelineOverride.KEYFRAME:
            if not frames:
                raise InvalidArgument("pipeline_override", "the keyframe pipeline needs at least one image condition")
            return Choice(pipeline=Pipeline.KEYFRAME, reason="the request asks for keyframe")
        case PipelineOverride.IC_LORA:
            if not references:
                raise InvalidArgument("pipeline_override", "the ic_lora pipeline needs a video condition or an IC-LoRA")
            return Choice(pipeline=Pipeline.IC_LORA, reason="the request asks for ic_lora")
        case PipelineOverride.AUTO:
            pass
    if len(frames) >= 2:  # 3
        where = ", ".join(map(str, sorted(frames)))
        return Choice(pipeline=Pipeline.KEYFRAME, reason=f"there are images at different frames ({where})")
    if references:  # 4
        return Choice(pipeline=Pipeline.IC_LORA, reason=f"there is {' and '.join(references)}")
    if frames:  # 5
        return Choice(pipeline=Pipeline.TI2VID, reason=f"there is a prompt and an image at frame {min(frames)}")
    return Choice(pipeline=Pipeline.TI2VID, reason="there is only a prompt")


def image_frames(request: VideoRequest) -> frozenset[int]:
    """The different frames, counted from the start, at which the request has an image."""
    return frozenset(
        resolve_frame(condition.frame_index, request.num_frames)
        for condition in request.conditions
        if condition.kind == "image"
    )


def _references(request: VideoRequest) -> list[str]:
    found = []
    if any(condition.kind == "video" for condition in request.conditions):
        found.append("a video condition")
    found.extend(f"the IC-LoRA {lora.name}" for lora in request.loras if lora.in_context)
    return found
