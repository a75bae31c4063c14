"""A video made with the diffusers pipelines alone, beside which the engine is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from .tiny import CLIP, moving, picture

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from milimo_video.request import VideoRequest
    from numpy.typing import NDArray


# Every argument that LTX-2.0 needs and the pipelines would otherwise set for a later version.
UNGUIDED = {
    "guidance_scale": 1.0,
    "stg_scale": 0.0,
    "modality_scale": 1.0,
    "guidance_rescale": 0.0,
    "audio_guidance_scale": 1.0,
    "audio_stg_scale": 0.0,
    "audio_modality_scale": 1.0,
    "audio_guidance_rescale": 0.0,
    "spatio_temporal_guidance_blocks": [29],
    "use_cross_timestep": False,
    "return_dict": False,
}
STAGE_1 = [1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875]
STAGE_2 = [0.909375, 0.725, 0.421875]
TEMPORAL = [0.725, 0.421875]
DISTILLED_STAGE_1 = {**UNGUIDED, "num_inference_steps": 8, "sigmas": STAGE_1, "noise_scale": 1.0}


def by_hand(
    root: Path,
    request: VideoRequest,
    *,
    stage_1: Mapping[str, Any] = DISTILLED_STAGE_1,
    before_stage: Callable[[Any, int], None] = lambda pipe, stage: None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The same with nothing but diffusers: its own loading, both stages, its own decoding.

    `stage_1` replaces arguments of the first stage; `before_stage` is given the pipeline and 1, 2 or 3.
    """
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        LTX2ConditionPipeline,
        LTX2LatentUpsamplePipeline,
        LTX2Pipeline,
    )
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

    pipe: Any = LTX2Pipeline.from_pretrained(root)
    pipe.scheduler = FlowMatchEulerDiscreteScheduler.from_config(
        pipe.scheduler.config, use_dynamic_shifting=False, shift_terminal=None
    )
    upsampler = LTX2LatentUpsamplerModel.from_pretrained(root, subfolder="latent_upsampler")
    upsample = LTX2LatentUpsamplePipeline(vae=pipe.vae, latent_upsampler=upsampler)
    given: dict[str, Any] = {}
    # Frames of the result that are one frame of the first two stages.
    every = 2 if request.upscale else 1

    def conditions(every: int) -> list[Any]:
        frames = [-(-condition.frame_index // every) for condition in request.conditions]
        return [
            LTX2VideoCondition(
                frames=picture() if condition.kind == "image" else [*map(Image.fromarray, moving(CLIP.frames))],
                index=0 if frame == 0 else (frame - 1) / 8 + 1,
                strength=condition.strength,
            )
            for frame, condition in zip(frames, request.conditions, strict=True)
        ]

    if request.conditions:
        parts = {name: part for name, part in pipe.components.items() if name not in pipe._optional_components}
        pipe = LTX2ConditionPipeline(**parts)
        given["conditions"] = conditions(every)
    pipe.set_progress_bar_config(disable=True)

    width, height, frames = request.width, request.height, (request.num_frames + every - 1) // every
    generator = torch.Generator("cpu").manual_seed(request.seed)
    common: dict[str, Any] = {
        "prompt": request.prompt,
        "num_frames": frames,
        "frame_rate": request.fps / every,
        "generator": generator,
    }
    before_stage(pipe, 1)
    video, audio = pipe(
        **common,
        **given,
        **stage_1,
        width=width // 2,
        height=height // 2,
        output_type="latent",
    )
    (larger,) = upsample(
        latents=video,
        width=width // 2,
        height=height // 2,
        num_frames=frames,
        output_type="latent",
        return_dict=False,
    )
    before_stage(pipe, 2)
    second: dict[str, Any] = {**UNGUIDED, "width": width, "height": height, "num_inference_steps": 3, "sigmas": STAGE_2}
    second |= {"noise_scale": STAGE_2[0], "latents": larger, "audio_latents": audio}
    if request.upscale:
        full, _ = pipe(**common, **given, **second, output_type="latent")
        between = LTX2LatentUpsamplerModel.from_pretrained(root, subfolder="temporal_upsampler")
        with torch.no_grad():
            doubled = between(full)
        assert doubled.shape[2] == 2 * full.shape[2] - 1
        common |= {"num_frames": request.num_frames, "frame_rate": float(request.fps)}
        given = {"conditions": conditions(1)} if request.conditions else {}
        second |= {"num_inference_steps": 2, "sigmas": TEMPORAL, "noise_scale": TEMPORAL[0]}
        second["latents"] = doubled
        before_stage(pipe, 3)
    pictures, _ = pipe(**common, **given, **second, output_type="np")
    with torch.no_grad():
        sound = pipe.vocoder(pipe.audio_vae.decode(audio, return_dict=False)[0])
    return (pictures[0] * 255).round().astype(np.uint8), sound[0].numpy()
