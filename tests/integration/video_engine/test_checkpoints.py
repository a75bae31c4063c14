"""Checkpoints of both kinds: what they need, and what comes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from milimo_runtime.device import device_plan
from milimo_runtime.errors import ModelMissing
from milimo_runtime.observer import Silent
from milimo_tiny.ltx2 import write_ltx2
from milimo_video.decode import Tiling
from milimo_video.engine import generate, make_latents
from milimo_video.models import WEIGHT_FOLDERS, VideoModels, load_models
from milimo_video.plan import plan_video
from milimo_video.text import PromptCache

from .tiny import SMALL, decode_file

if TYPE_CHECKING:
    from pathlib import Path

    from milimo_video.request import VideoRequest


@pytest.fixture(scope="module")
def distilled_lora(models: VideoModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of random weights for the tiny transformer, as diffusers saves one."""
    from diffusers import LTX2Pipeline
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(5)
    weights = {}
    for name, module in models.text_to_video.transformer.named_modules():
        if name.endswith(("to_q", "to_v")):
            weights[f"{name}.lora_A.weight"] = torch.randn(2, module.in_features, generator=generator) * 0.2
            weights[f"{name}.lora_B.weight"] = torch.randn(module.out_features, 2, generator=generator) * 0.2
    folder = tmp_path_factory.mktemp("loras")
    LTX2Pipeline.save_lora_weights(folder, transformer_lora_layers=weights, save_function=save_file)
    return folder / "pytorch_lora_weights.safetensors"


def test_dev_checkpoint_is_guided_in_stage_1_and_distilled_in_stage_2(
    root: Path, distilled_lora: Path, tmp_path: Path
) -> None:
    models = load_models(root, name="dev", checkpoint="dev", devices=device_plan("cpu"), distilled_lora=distilled_lora)
    transformer = models.text_to_video.transformer
    seen: list[tuple[int, int, bool]] = []
    adapted = transformer.transformer_blocks[0].attn1.to_q

    def note(_: object, args: object, kwargs: dict[str, Any]) -> None:
        batch, tokens, _ = kwargs["hidden_states"].shape
        seen.append((batch, tokens, not adapted.disable_adapters))

    transformer.register_forward_pre_hook(note, with_kwargs=True)
    request = replace(SMALL, steps=4, negative_prompt="rain")
    plan = plan_video(request, "dev")
    prompts = PromptCache(4)

    def latents(request: VideoRequest) -> torch.Tensor:
        return make_latents(models, request, plan_video(request, "dev"), {}, Silent(), prompts).video

    video = latents(request)
    # Conditional and negative together, perturbed, modalities apart; then three plain steps with the LoRA.
    assert seen == [(2, 6, False), (1, 6, False), (1, 6, False)] * 4 + [(1, 24, True)] * 3
    assert adapted.disable_adapters
    assert torch.equal(video, latents(request))
    assert not torch.equal(video, latents(replace(request, negative_prompt="")))
    generate(models, request, plan, {}, Silent(), tmp_path / "v.mp4", prompts=prompts, tiling=Tiling())
    assert len(decode_file(tmp_path / "v.mp4")) == 17


def test_dev_checkpoint_needs_its_lora(root: Path, tmp_path: Path) -> None:
    for lora in (None, tmp_path / "absent.safetensors"):
        with pytest.raises(ModelMissing, match="distilled LoRA"):
            load_models(root, name="dev", checkpoint="dev", devices=device_plan("cpu"), distilled_lora=lora)


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
