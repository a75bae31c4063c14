"""The engine beside the diffusers pipelines called by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from milimo_video.request import PipelineOverride

from .tiny import SMALL, START, frames_of, picture, run

if TYPE_CHECKING:
    from pathlib import Path

    from milimo_video.models import VideoModels
    from milimo_video.request import Condition, VideoRequest
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


def by_hand(root: Path, request: VideoRequest) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The same with nothing but diffusers: its own loading, both stages, its own decoding."""
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
    if request.conditions:
        parts = {name: part for name, part in pipe.components.items() if name not in pipe._optional_components}
        pipe = LTX2ConditionPipeline(**parts)
        given["conditions"] = [
            LTX2VideoCondition(
                frames=picture(),
                index=0 if condition.frame_index == 0 else (condition.frame_index - 1) // 8 + 1,
                strength=condition.strength,
            )
            for condition in request.conditions
        ]
    pipe.set_progress_bar_config(disable=True)

    width, height, frames = request.width, request.height, request.num_frames
    generator = torch.Generator("cpu").manual_seed(request.seed)
    common = {"prompt": request.prompt, "num_frames": frames, "frame_rate": float(request.fps), "generator": generator}
    video, audio = pipe(
        **common,
        **given,
        **UNGUIDED,
        width=width // 2,
        height=height // 2,
        num_inference_steps=8,
        sigmas=STAGE_1,
        noise_scale=1.0,
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
    pictures, _ = pipe(
        **common,
        **given,
        **UNGUIDED,
        width=width,
        height=height,
        num_inference_steps=3,
        sigmas=STAGE_2,
        noise_scale=STAGE_2[0],
        latents=larger,
        audio_latents=audio,
        output_type="np",
    )
    with torch.no_grad():
        sound = pipe.vocoder(pipe.audio_vae.decode(audio, return_dict=False)[0])
    return (pictures[0] * 255).round().astype(np.uint8), sound[0].numpy()


@pytest.mark.parametrize(
    "request_",
    [
        SMALL,
        replace(SMALL, width=256, height=128, num_frames=121, seed=3),
        replace(SMALL, fps=48, prompt="wide shot, rain", num_frames=33),
        replace(SMALL, conditions=(START,)),
        replace(SMALL, conditions=(replace(START, strength=0.6),)),
        # At frames where diffusers can place them too.
        replace(SMALL, conditions=(START, replace(START, frame_index=9)), pipeline_override=PipelineOverride.TI2VID),
        replace(SMALL, conditions=(replace(START, frame_index=1), replace(START, frame_index=9, strength=0.7))),
    ],
    ids=["small", "121 frames", "48 fps", "image", "weak image", "second image", "keyframes"],
)
def test_frames_and_sound_equal_those_of_diffusers(root: Path, models: VideoModels, request_: VideoRequest) -> None:
    frames, sound = frames_of(models, request_)
    wanted_frames, wanted_sound = by_hand(root, request_)
    assert frames.shape == (request_.num_frames, request_.height, request_.width, 3)
    assert np.array_equal(frames, wanted_frames)
    # The model's sound ends a little early; the rest is silence.
    heard = wanted_sound.shape[1]
    assert 0 <= sound.shape[1] - heard < 0.05 * models.audio_sample_rate
    assert np.array_equal(sound[:, :heard], wanted_sound)
    assert not sound[:, heard:].any()
    # Not a blank screen, and not silence.
    assert frames.std() > 10
    assert wanted_sound.std() > 0.01


@pytest.mark.parametrize("conditions", [(), (START,)], ids=["text", "image"])
def test_forward_passes(
    models: VideoModels, forwards: list[int], tmp_path: Path, conditions: tuple[Condition, ...]
) -> None:
    run(models, replace(SMALL, conditions=conditions), tmp_path / "video.mp4")
    half, full = 3 * 1 * 2, 3 * 2 * 4
    assert forwards == [half] * 8 + [full] * 3
