"""What a caller asks for: a video, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from milimo_video import limits

# What the transformer's weights are: distilled ones run few steps without guidance, dev ones many steps with it.
Checkpoint = Literal["distilled", "dev"]


class PipelineOverride(StrEnum):
    """A pipeline that the caller insists on, or AUTO."""

    AUTO = "auto"
    TI2VID = "ti2vid"
    IC_LORA = "ic_lora"
    KEYFRAME = "keyframe"


class Handoff(StrEnum):
    """How a chunk of a long video goes on from the one before it."""

    # Its last latents stand at the start of the next: those of stage 1 in stage 1, those of stage 2 in stage 2.
    LATENT = "latent"
    # Its last frames are encoded again.
    REENCODE = "reencode"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """An image or a video that the result shall follow.

    `frame_index` is a frame of the result as asked; negative values count from the end. `strength` lies in [0, 1]:
    1 keeps the condition as it is, 0 ignores it.
    """

    asset_id: str
    kind: Literal["image", "video"]
    frame_index: int = 0
    strength: float = limits.DEFAULT_STRENGTH
    # How long a video lasts, in frames of the result.
    frames: int = 1


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A LoRA of the model registry.

    `in_context` says that it is an IC-LoRA, which reads reference videos: so many times smaller than the result, and
    with so many times fewer frames.
    """

    name: str
    weight: float = 1.0
    in_context: bool = False
    reference_downscale: int = 1
    reference_temporal_scale: int = 1


@dataclass(frozen=True, kw_only=True)
class Extension:
    """A video that the result goes on from. `frames`: how long it lasts, in frames of the result."""

    asset_id: str
    frames: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Retake:
    """A video of `frames` frames of which those from `first_frame` to `last_frame`, both included, are made anew."""

    asset_id: str
    frames: int
    first_frame: int
    last_frame: int


@dataclass(frozen=True, kw_only=True)
class VideoRequest:
    """A video to generate; sizes in pixels, lengths in frames. `VideoPlan` says what the model makes of it."""

    prompt: str
    # As it was given, where elements made another one of it.
    original_prompt: str = ""
    # None stands for the default, "" for none.
    negative_prompt: str | None = None
    seed: int
    width: int = limits.DEFAULT_WIDTH
    height: int = limits.DEFAULT_HEIGHT
    num_frames: int = limits.DEFAULT_NUM_FRAMES
    fps: int = limits.DEFAULT_FPS
    # None stands for the checkpoint's own number, as for the guidance.
    steps: int | None = None
    cfg_scale: float | None = None
    pipeline_override: PipelineOverride = PipelineOverride.AUTO
    conditions: tuple[Condition, ...] = ()
    loras: tuple[Lora, ...] = ()
    handoff: Handoff = Handoff.LATENT
    # Frames that neighbouring chunks share, as asked; None stands for the default.
    overlap_frames: int | None = None
    # Whether colours of further chunks are matched to the first.
    match_statistics: bool = False
    # Of the second chunk, the third, and so on; a chunk without one, or with an empty one, goes on with `prompt`.
    chunk_prompts: tuple[str, ...] = ()
    # At most one of both. With a retake `num_frames`, the size and the frame rate are those of its video.
    extension: Extension | None = None
    retake: Retake | None = None
    # Whether the prompt provider enriches the prompt, and continues it over the chunks.
    enhance_prompt: bool = False
    # Whether the temporal stage doubles the frame rate: `num_frames` and `fps` are the result's all the same.
    upscale: bool = False

    @property
    def reference_scales(self) -> tuple[int, int]:
        """How much smaller than the result reference videos are, and how many times fewer frames they have."""
        for lora in self.loras:
            if lora.in_context:
                return lora.reference_downscale, lora.reference_temporal_scale
        return 1, 1
