"""The ways to run a checkpoint in less memory: what each stores, what is on the device at once, and that it works."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from milimo_runtime.device import granted_plan
from milimo_runtime.registry import Registry, write_manifest
from milimo_runtime.vision_ops import prepare_torchvision
from milimo_video.loaded import GRADES
from milimo_video.lora_file import find_lora
from milimo_video.models import VideoModels, load_models, weight_bytes
from milimo_video.request import Lora
from milimo_video.scaled_linear import ScaledLinear, store_in_fp8

from .loras import write_lora
from .tiny import SMALL, frames_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def registry(models: VideoModels, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    registry = Registry(tmp_path_factory.mktemp("registry"), "tiny")
    folder = registry.root / "style"
    write_lora(folder / "weights.safetensors", models, seed=3, size=0.05)
    manifest = {"name": "style", "family": "tiny", "purpose": "lora", "checkpoint": ""}
    write_manifest(folder, {**manifest, "license": "", "note": "", "advice": ""}, footprints=[])
    return registry


def loaded(root: Path, registry: Registry, grade: str) -> VideoModels:
    return load_models(
        root,
        name="tiny",
        checkpoint="distilled",
        devices=granted_plan("cpu:0", grade, model="tiny", grades=GRADES),
        find_lora=lambda name: find_lora(registry, name, field="name"),
    )


def blocks(models: VideoModels) -> Any:
    return models.text_to_video.transformer.transformer_blocks


def large(models: VideoModels) -> int:
    """Bytes of the layers of the transformer's blocks, without their biases."""
    return sum(layer.weight.nbytes for layer in blocks(models).modules() if isinstance(layer, torch.nn.Linear))


def test_fp8_halves_the_stored_bytes_and_makes_nearly_the_same(
    root: Path, models: VideoModels, registry: Registry
) -> None:
    half, small = loaded(root, registry, "bf16"), loaded(root, registry, "fp8")
    assert large(small) == large(half) / 2
    assert half.weight_bytes - small.weight_bytes == pytest.approx(large(half) / 2, rel=0.01)
    for plain in (replace(SMALL, num_frames=9), replace(SMALL, num_frames=9, loras=(Lora(name="style"),))):
        frames, _ = frames_of(small, plain)
        wanted, _ = frames_of(half, plain)
        assert 0 < np.abs(frames.astype(int) - wanted).mean() < 16
    # A LoRA is not stored in fp8 too, where it would be lost.
    factors = [weight for name, weight in blocks(small).named_parameters() if "lora_" in name]
    assert factors
    assert all(weight.dtype is not torch.float8_e4m3fn for weight in factors)


def test_fp8_halves_the_transformer_at_full_size() -> None:
    prepare_torchvision()
    from diffusers import LTX2VideoTransformer3DModel

    with torch.device("meta"):
        model: Any = LTX2VideoTransformer3DModel(rope_type="split")
    model.to(torch.bfloat16)
    before = weight_bytes(model)
    store_in_fp8(model)
    assert before > 36e9
    assert weight_bytes(model) < 0.52 * before


def test_a_scale_for_each_layer_keeps_small_and_large_weights() -> None:
    layer = torch.nn.Linear(64, 32)
    block = torch.nn.ModuleDict({"attn1": torch.nn.ModuleDict({"to_q": layer})})
    model = torch.nn.ModuleDict({"transformer_blocks": torch.nn.ModuleList([block])})
    for size in (1e-6, 1.0, 1e4):
        layer.__class__ = torch.nn.Linear
        layer.weight = torch.nn.Parameter(torch.randn(32, 64, generator=torch.Generator().manual_seed(1)) * size)
        values = torch.randn(4, 64, generator=torch.Generator().manual_seed(2))
        wanted = layer(values) - layer.bias
        store_in_fp8(model)
        assert isinstance(layer, ScaledLinear)
        assert (layer(values) - layer.bias - wanted).norm() < 0.05 * wanted.norm()
        layer.bias = torch.nn.Parameter(layer.bias.detach())


def test_streamed_weights_are_on_the_device_one_block_at_a_time(
    root: Path, models: VideoModels, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers.hooks.group_offloading import ModuleGroup

    there: dict[int, int] = {}
    peaks: list[int] = []

    def tensors(group: Any) -> int:
        modules = torch.nn.ModuleList(group.modules)
        return weight_bytes(modules) + sum(int(tensor.nbytes) for tensor in (*group.parameters, *group.buffers))

    onload, offload = ModuleGroup.onload_, ModuleGroup.offload_

    def come(group: Any) -> None:
        onload(group)
        there[id(group)] = tensors(group)
        peaks.append(sum(there.values()))

    def go(group: Any) -> None:
        offload(group)
        there.pop(id(group), None)

    monkeypatch.setattr(ModuleGroup, "onload_", come)
    monkeypatch.setattr(ModuleGroup, "offload_", go)
    streamed, half = loaded(root, registry, "streamed"), loaded(root, registry, "bf16")
    largest = max(weight_bytes(block) for block in blocks(streamed))
    request = replace(SMALL, num_frames=9)
    frames, sound = frames_of(streamed, request)
    assert max(peaks) <= 1.2 * largest
    assert not there
    wanted_frames, wanted_sound = frames_of(half, request)
    assert np.array_equal(frames, wanted_frames)
    assert np.array_equal(sound, wanted_sound)
    assert streamed.modules() == []
    # Beside a LoRA too.
    peaks.clear()
    adapted, _ = frames_of(streamed, replace(request, loras=(Lora(name="style"),)))
    wanted, _ = frames_of(half, replace(request, loras=(Lora(name="style"),)))
    assert np.array_equal(adapted, wanted)
    assert max(peaks) <= 1.2 * max(weight_bytes(block) for block in blocks(streamed))
