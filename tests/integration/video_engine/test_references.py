"""IC-LoRAs: reference videos beside diffusers' own pipeline for them, and what their files say of the references."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from milimo_runtime.device import device_plan
from milimo_runtime.observer import Silent
from milimo_runtime.registry import Registry, write_manifest
from milimo_video.checkpoint_files import find_checkpoint, weight_shapes
from milimo_video.engine import make_latents
from milimo_video.lora_file import find_lora, with_loras
from milimo_video.models import VideoModels, load_models
from milimo_video.plan import plan_video
from milimo_video.request import Condition, Lora
from milimo_video.text import PromptCache
from PIL import Image

from .by_hand import STAGE_2, UNGUIDED
from .loras import write_lora
from .tiny import SMALL, picture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from milimo_video.request import VideoRequest

FRAMES = np.stack([np.asarray(picture(seed=seed, size=(128, 128))) for seed in range(17)])
REQUEST = replace(
    SMALL, height=128, conditions=(Condition(asset_id="clip", kind="video", frames=17),), loras=(Lora(name="control"),)
)


@pytest.fixture(scope="module")
def registry(models: VideoModels, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """LoRAs that read references half as large, and with half as many frames."""
    registry = Registry(tmp_path_factory.mktemp("registry"), "tiny")
    for name, metadata in {
        "control": {"reference_downscale_factor": "2"},
        "slow": {"reference_temporal_scale_factor": "2"},
        "plain": {},
    }.items():
        folder = registry.root / name
        write_lora(folder / "weights.safetensors", models, seed=3, metadata=metadata)
        write_manifest(
            folder,
            {"name": name, "family": "tiny", "purpose": "ic_lora", "checkpoint": ""}
            | {"license": "", "note": "", "advice": ""},
            footprints=[],
        )
    return registry


@pytest.fixture(scope="module")
def reading(root: Path, registry: Registry) -> VideoModels:
    return load_models(
        root,
        name="ltx2-tiny",
        checkpoint="distilled",
        devices=device_plan("cpu"),
        find_lora=lambda name: find_lora(registry, name, field="name"),
    )


@pytest.fixture
def calls(reading: VideoModels) -> Iterator[list[tuple[int, bool, torch.Tensor]]]:
    """Tokens of each pass of the transformer, whether a LoRA works in it, and the times of its tokens in frames."""
    seen: list[tuple[int, bool, torch.Tensor]] = []
    transformer = reading.text_to_video.transformer

    def note(_: object, args: object, kwargs: dict[str, Any]) -> None:
        adapted = getattr(transformer.proj_in, "disable_adapters", True)
        seen.append((kwargs["hidden_states"].shape[1], not adapted, kwargs["video_coords"][0, 0] * SMALL.fps))

    hook = transformer.register_forward_pre_hook(note, with_kwargs=True)
    yield seen
    hook.remove()


def made(models: VideoModels, registry: Registry, root: Path, request: VideoRequest) -> torch.Tensor:
    shapes = weight_shapes(find_checkpoint(root, name="tiny", checkpoint="distilled"), name="tiny")
    known = with_loras(request, registry, shapes, model="tiny")
    plan = plan_video(known, "distilled")
    return make_latents(models, known, plan, {"clip": FRAMES}, Silent(), PromptCache(0)).video


def by_hand(root: Path, registry: Registry) -> torch.Tensor:
    """Both stages with nothing but diffusers: its pipeline for IC-LoRAs, then the plain one without the LoRA."""
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        LTX2InContextPipeline,
        LTX2LatentUpsamplePipeline,
        LTX2Pipeline,
    )
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
    from diffusers.pipelines.ltx2.pipeline_ltx2_ic_lora import LTX2ReferenceCondition

    plain: Any = LTX2Pipeline.from_pretrained(root)
    plain.scheduler = FlowMatchEulerDiscreteScheduler.from_config(
        plain.scheduler.config, use_dynamic_shifting=False, shift_terminal=None
    )
    parts = {name: part for name, part in plain.components.items() if name not in plain._optional_components}
    reading: Any = LTX2InContextPipeline(**parts)
    upsampler = LTX2LatentUpsamplerModel.from_pretrained(root, subfolder="latent_upsampler")
    upsample = LTX2LatentUpsamplePipeline(vae=plain.vae, latent_upsampler=upsampler)
    reading.load_lora_weights(registry.root / "control", weight_name="weights.safetensors")
    common = {
        **UNGUIDED,
        "prompt": REQUEST.prompt,
        "num_frames": REQUEST.num_frames,
        "frame_rate": float(REQUEST.fps),
        "generator": torch.Generator("cpu").manual_seed(REQUEST.seed),
        "output_type": "latent",
    }
    video, audio = reading(
        **common,
        width=64,
        height=64,
        reference_conditions=[LTX2ReferenceCondition(frames=[Image.fromarray(frame) for frame in FRAMES])],
        reference_downscale_factor=2,
        num_inference_steps=8,
        sigmas=[1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875],
        noise_scale=1.0,
    )
    reading.disable_lora()
    (larger,) = upsample(latents=video, width=64, height=64, num_frames=17, output_type="latent", return_dict=False)
    refined, _ = plain(
        **common,
        width=128,
        height=128,
        num_inference_steps=3,
        sigmas=STAGE_2,
        noise_scale=STAGE_2[0],
        latents=larger,
        audio_latents=audio,
    )
    assert isinstance(refined, torch.Tensor)
    return refined


def test_a_reference_equals_that_of_diffusers(root: Path, registry: Registry, reading: VideoModels) -> None:
    ours = made(reading, registry, root, REQUEST)
    assert torch.equal(ours, by_hand(root, registry))
    assert not torch.equal(ours, made(reading, registry, root, replace(REQUEST, loras=(Lora(name="plain"),))))


def test_references_stand_at_what_they_show_in_stage_1_alone(
    root: Path, registry: Registry, reading: VideoModels, calls: list[tuple[int, bool, torch.Tensor]]
) -> None:
    made(reading, registry, root, REQUEST)
    # 3 latent frames of 2 × 2 at half size, and the reference's of 1 × 1; then 4 × 4 without it and without the LoRA.
    assert [call[:2] for call in calls] == [(12 + 3, True)] * 8 + [(48, False)] * 3
    calls.clear()
    made(reading, registry, root, replace(REQUEST, loras=(Lora(name="slow"),)))
    # Of 17 frames 9 are shown: 2 latents of 2 × 2, the first for frame 0 and the second for the 16 after it.
    tokens, adapted, times = calls[0]
    assert (tokens, adapted) == (12 + 8, True)
    torch.testing.assert_close(times[12::4], torch.tensor([[0.0, 1.0], [1.0, 17.0]]))
    assert times[8:12].max() == 17
