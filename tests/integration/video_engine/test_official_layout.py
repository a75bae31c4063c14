"""Checkpoints as they are published: the same weights make the same video, and what is wrong with a file is said."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from milimo_runtime.device import device_plan, granted_plan
from milimo_runtime.errors import ModelMissing
from milimo_tiny.ltx2_official import (
    CHECKPOINT,
    CHECKPOINT_FP8,
    GEMMA,
    SPATIAL_UPSCALER,
    TEMPORAL_UPSCALER,
    write_official_layout,
)
from milimo_video.checkpoint_files import find_checkpoint, temporal_upsampler, weight_shapes
from milimo_video.loaded import GRADES
from milimo_video.models import VideoModels, load_models
from milimo_video.scaled_linear import ScaledLinear
from safetensors.torch import load_file, save_file

from .tiny import SMALL, frames_of

if TYPE_CHECKING:
    from pathlib import Path

SHORT = replace(SMALL, num_frames=9)


@pytest.fixture(scope="module")
def official(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "LTX-2"
    write_official_layout(path, root, full=True, fp8=True)
    return path


def loaded(root: Path, grade: str = "float32") -> VideoModels:
    devices = granted_plan("cpu:0", grade, model="tiny", grades=GRADES)
    return load_models(root, name="LTX-2", checkpoint="distilled", devices=devices)


def test_both_layouts_make_the_same_video(models: VideoModels, official: Path) -> None:
    ours = loaded(official)
    frames, sound = frames_of(ours, SHORT)
    wanted_frames, wanted_sound = frames_of(models, SHORT)
    assert np.array_equal(frames, wanted_frames)
    assert np.array_equal(sound, wanted_sound)
    assert ours.weight_bytes == models.weight_bytes
    doubled, wanted_doubled = (frames_of(one, replace(SHORT, upscale=True))[0] for one in (ours, models))
    assert np.array_equal(doubled, wanted_doubled)
    assert not np.array_equal(doubled[:9], wanted_frames)


def test_both_layouts_tell_a_lora_the_same_shapes(root: Path, official: Path) -> None:
    folders, files = (
        weight_shapes(find_checkpoint(path, name="tiny", checkpoint="distilled"), name="tiny")
        for path in (root, official)
    )
    assert folders == files


def test_the_fp8_file_serves_full_precision_and_fp8(models: VideoModels, official: Path, tmp_path: Path) -> None:
    only_fp8 = tmp_path / "LTX-2"
    shutil.copytree(official, only_fp8, ignore=shutil.ignore_patterns(CHECKPOINT.rpartition("/")[2]))
    multiplied, stored = loaded(only_fp8), loaded(official, "fp8")
    for name, layer in stored.text_to_video.transformer.named_modules():
        if isinstance(layer, ScaledLinear):
            wanted = models.text_to_video.transformer.get_submodule(name).weight
            again = multiplied.text_to_video.transformer.get_submodule(name).weight
            assert layer.weight.dtype is torch.float8_e4m3fn
            assert torch.equal(layer.weight.float() * layer.weight_scale.float(), again)
            # Three bits behind the point, and subnormal near nothing.
            assert (again - wanted).abs().max() <= wanted.abs().max() * 2**-4
    frames, _ = frames_of(multiplied, SHORT)
    plain, _ = frames_of(models, SHORT)
    assert 0 < np.abs(frames.astype(int) - plain).mean() < 16


@pytest.mark.parametrize(
    ("absent", "said"),
    [(CHECKPOINT, "ltx-2-19b-distilled.safetensors"), (SPATIAL_UPSCALER, "spatial upsampler"), (GEMMA, "gemma3")],
)
def test_what_is_missing_is_said(root: Path, tmp_path: Path, absent: str, said: str) -> None:
    write_official_layout(tmp_path, root)
    if (tmp_path / absent).is_dir():
        shutil.rmtree(tmp_path / absent)
    else:
        (tmp_path / absent).unlink()
    with pytest.raises(ModelMissing, match=said) as caught:
        find_checkpoint(tmp_path, name="LTX-2", checkpoint="distilled")
    assert "milimo models verify" in caught.value.message


def test_the_temporal_upsampler_is_needed_only_when_asked_for(root: Path, tmp_path: Path) -> None:
    write_official_layout(tmp_path, root)
    (tmp_path / TEMPORAL_UPSCALER).unlink()
    files = find_checkpoint(tmp_path, name="LTX-2", checkpoint="distilled")
    with pytest.raises(ModelMissing, match=r"ltx-2-temporal-upscaler-x2-1.0.safetensors, under .*models/upscalers"):
        temporal_upsampler(files, name="LTX-2")


def test_weights_that_do_not_fit_are_named(official: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    path = tmp_path / "LTX-2"
    shutil.copytree(official, path, ignore=shutil.ignore_patterns(CHECKPOINT_FP8.rpartition("/")[2]))
    with safe_open(path / CHECKPOINT, framework="pt") as file:
        metadata = file.metadata()
    weights = load_file(path / CHECKPOINT)
    weights["vocoder.conv_before.weight"] = weights.pop("vocoder.conv_pre.bias")
    save_file(weights, path / CHECKPOINT, metadata=metadata)
    with pytest.raises(ModelMissing, match=r"1 weights are missing .*conv_in\.bias.*1 are left over .*conv_before"):
        load_models(path, name="LTX-2", checkpoint="distilled", devices=device_plan("cpu"))
