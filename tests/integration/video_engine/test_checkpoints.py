"""Checkpoints of both kinds: what they need, and what comes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from milimo_runtime.device import device_plan
from milimo_runtime.errors import ModelMissing
from milimo_runtime.observer import Silent
from milimo_runtime.registry import InstalledModel, Manifest, ModelFootprint
from milimo_tiny.ltx2 import write_ltx2
from milimo_video import limits, sigmas
from milimo_video.checkpoint_files import WEIGHT_FOLDERS
from milimo_video.decode import Tiling, decode_video
from milimo_video.engine import generate, make_latents
from milimo_video.messages import plan_message
from milimo_video.models import VideoModels, load_models
from milimo_video.plan import plan_video
from milimo_video.text import PromptCache

from .by_hand import by_hand
from .loras import write_lora
from .tiny import SMALL, decode_file

if TYPE_CHECKING:
    from milimo_video.request import VideoRequest


@pytest.fixture(scope="module")
def dev_root(root: Path, models: VideoModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as a dev checkpoint: with the distilled LoRA that its second stage needs."""
    path = tmp_path_factory.mktemp("models") / "dev"
    path.mkdir()
    for folder in root.iterdir():
        (path / folder.name).symlink_to(folder)
    write_lora(path / "ltx-2-19b-distilled-lora-384.safetensors", models, seed=5)
    return path


@pytest.fixture(scope="module")
def dev(dev_root: Path) -> VideoModels:
    return load_models(dev_root, name="dev", checkpoint="dev", devices=device_plan("cpu"))


def installed() -> InstalledModel:
    manifest = Manifest(
        name="ltx-2",
        family="tiny",
        purpose="video",
        checkpoint="dev",
        license="",
        note="",
        advice="",
        footprints=[ModelFootprint(name="bf16", bytes=1)],
        files=[],
    )
    return InstalledModel(manifest=manifest, root=Path())


def test_dev_checkpoint_is_guided_in_stage_1_and_distilled_in_stage_2(dev: VideoModels, tmp_path: Path) -> None:
    models = dev
    transformer = models.text_to_video.transformer
    seen: list[tuple[int, int, bool]] = []
    adapted = transformer.transformer_blocks[0].attn1.to_q

    def note(_: object, args: object, kwargs: dict[str, Any]) -> None:
        batch, tokens, _ = kwargs["hidden_states"].shape
        seen.append((batch, tokens, not adapted.disable_adapters))

    hook = transformer.register_forward_pre_hook(note, with_kwargs=True)
    request = replace(SMALL, steps=2, num_frames=9, negative_prompt="rain")
    plan = plan_video(request, "dev")
    prompts = PromptCache(4)

    def latents(request: VideoRequest) -> torch.Tensor:
        return make_latents(models, request, plan_video(request, "dev"), {}, Silent(), prompts).video

    video = latents(request)
    # Conditional and negative together, perturbed, modalities apart; then three plain steps with the LoRA.
    assert seen == [(2, 4, False), (1, 4, False), (1, 4, False)] * 2 + [(1, 16, True)] * 3
    assert adapted.disable_adapters
    assert torch.equal(video, latents(request))
    assert not torch.equal(video, latents(replace(request, negative_prompt="")))
    hook.remove()
    generate(models, request, plan, {}, Silent(), tmp_path / "v.mp4", prompts=prompts, tiling=Tiling())
    assert len(decode_file(tmp_path / "v.mp4")) == 9


OFFICIAL_GUIDANCE = {
    "guidance_scale": 3.0,
    "stg_scale": 1.0,
    "modality_scale": 3.0,
    "guidance_rescale": 0.7,
    "audio_guidance_scale": 7.0,
    "audio_stg_scale": 1.0,
    "audio_modality_scale": 3.0,
    "audio_guidance_rescale": 0.7,
    "spatio_temporal_guidance_blocks": [29],
    "use_cross_timestep": False,
    "return_dict": False,
}


@pytest.mark.parametrize("cfg_scale", [None, 1.0])
def test_dev_checkpoint_equals_diffusers_with_the_official_guidance(
    root: Path, dev_root: Path, dev: VideoModels, cfg_scale: float | None
) -> None:
    request = replace(SMALL, steps=2, num_frames=9, negative_prompt="rain", cfg_scale=cfg_scale)
    latents = make_latents(dev, request, plan_video(request, "dev"), {}, Silent(), PromptCache(0))
    frames = np.concatenate(list(decode_video(dev, latents.video, Tiling())))

    def distil(pipe: Any, stage: int) -> None:
        if stage == 2:
            pipe.load_lora_weights(dev_root, weight_name="ltx-2-19b-distilled-lora-384.safetensors")

    guided = {**OFFICIAL_GUIDANCE, "negative_prompt": "rain", "num_inference_steps": 2, "noise_scale": 1.0}
    guided |= {"sigmas": list(sigmas.undistilled(2))} | ({} if cfg_scale is None else {"guidance_scale": cfg_scale})
    wanted, _ = by_hand(root, request, stage_1=guided, before_stage=distil)
    assert np.array_equal(frames, wanted)


def test_dev_checkpoint_makes_as_many_passes_as_its_plan_says(dev: VideoModels) -> None:
    seen: list[int] = []
    hook = dev.text_to_video.transformer.register_forward_pre_hook(lambda *_: seen.append(1))
    request = replace(SMALL, width=64, num_frames=9, steps=2)
    make_latents(dev, request, plan_video(request, "dev"), {}, Silent(), PromptCache(0))
    hook.remove()
    # Two steps of conditional and negative in one call, perturbed, and modalities apart; then 3 plain ones.
    assert len(seen) == 2 * 3 + 3
    for steps in (2, 40):
        asked = replace(request, steps=steps if steps == 2 else None)
        plan = plan_video(asked, "dev")
        assert plan.negative_prompt == limits.DEFAULT_NEGATIVE_PROMPT
        stages = {stage.name: stage.forwards for stage in plan_message(plan, asked, installed()).stages}
        assert stages == {"encode_text": 0, "stage_1": 3 * steps, "upsample": 0, "stage_2": 3, "decode": 0}


def test_dev_checkpoint_needs_its_lora(root: Path) -> None:
    with pytest.raises(ModelMissing, match="distilled LoRA"):
        load_models(root, name="dev", checkpoint="dev", devices=device_plan("cpu"))


def test_weights_are_counted(models: VideoModels, root: Path) -> None:
    on_disk = sum(path.stat().st_size for folder in WEIGHT_FOLDERS for path in (root / folder).glob("*.safetensors"))
    assert models.weight_bytes == pytest.approx(on_disk, rel=0.02)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="text_encoder"):
        load_models(tmp_path, name="ltx2", checkpoint="distilled", devices=device_plan("cpu"))


def test_tiny_checkpoint_depends_on_its_seed_alone(root: Path, tmp_path: Path) -> None:
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    write_ltx2(tmp_path / "again")
    assert torch.equal(torch.random.get_rng_state(), before)
    names = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(tmp_path / "again") for path in tmp_path.rglob("*") if path.is_file())
    assert all((root / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in names)
