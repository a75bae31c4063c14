"""LoRAs beside the weights: what they do to a video, what is loaded for them, and the dev checkpoint's own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from milimo_runtime.device import device_plan
from milimo_runtime.observer import Silent
from milimo_runtime.registry import Registry, write_manifest
from milimo_video.engine import make_latents
from milimo_video.installed import lora_finder
from milimo_video.models import VideoModels, load_models
from milimo_video.plan import plan_video
from milimo_video.request import Lora
from milimo_video.text import PromptCache

from .by_hand import by_hand
from .loras import write_lora
from .tiny import SMALL, frames_of

if TYPE_CHECKING:
    from pathlib import Path

    from milimo_video.request import VideoRequest

SHORT = replace(SMALL, num_frames=9)


@pytest.fixture(scope="module")
def family(root: Path, models: VideoModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A family of the checkpoint and two LoRAs."""
    path = tmp_path_factory.mktemp("registry") / "tiny"
    manifest = {"family": "tiny", "checkpoint": "", "license": "", "note": "", "advice": ""}
    for seed, name in enumerate(("style", "v1.5-light")):
        write_lora(path / name / "weights.safetensors", models, seed=seed)
        write_manifest(path / name, {**manifest, "name": name, "purpose": "lora"}, footprints=[])
    return path


@pytest.fixture(scope="module")
def adapted(root: Path, family: Path) -> VideoModels:
    """The checkpoint, loaded where the LoRAs are known."""
    registry = Registry(family.parent, family.name)
    installed = registry.model("style")
    return load_models(
        root,
        name="ltx2-tiny",
        checkpoint="distilled",
        devices=device_plan("cpu"),
        find_lora=lora_finder(installed),
    )


def places_of_weights(models: VideoModels) -> set[int]:
    """Where in memory the transformer's own weights are."""
    named = models.text_to_video.transformer.named_parameters()
    return {weight.data_ptr() for name, weight in named if "lora_" not in name}


def latents(models: VideoModels, request: VideoRequest) -> torch.Tensor:
    return make_latents(models, request, plan_video(request, "distilled"), {}, Silent(), PromptCache(0)).video


@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")
def test_two_loras_equal_those_of_diffusers_in_both_stages(root: Path, family: Path, adapted: VideoModels) -> None:
    weights = {"style": 0.7, "v1.5-light": -0.4}
    request = replace(SHORT, loras=tuple(Lora(name=name, weight=weight) for name, weight in weights.items()))
    frames, _ = frames_of(adapted, request)

    def load(pipe: Any, stage: int) -> None:
        if stage == 1:
            for index, name in enumerate(weights):
                pipe.load_lora_weights(family / name, weight_name="weights.safetensors", adapter_name=f"a{index}")
            pipe.set_adapters(["a0", "a1"], list(weights.values()))

    wanted, _ = by_hand(root, request, before_stage=load)
    assert np.array_equal(frames, wanted)
    plain, _ = frames_of(adapted, SHORT)
    assert not np.array_equal(frames, plain)


def test_another_weight_loads_nothing(adapted: VideoModels, models: VideoModels) -> None:
    places = places_of_weights(adapted)
    adapted.adapters.clear()
    loads = adapted.adapters.loads
    style = Lora(name="style", weight=0.5)
    seen = [latents(adapted, replace(SHORT, loras=(replace(style, weight=weight),))) for weight in (0.5, 1.0, 0.5)]
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])
    assert adapted.adapters.loads == loads + 1
    latents(adapted, replace(SHORT, loras=(style, Lora(name="v1.5-light"))))
    assert adapted.adapters.loads == loads + 2
    # And without any the checkpoint is what it was.
    assert torch.equal(latents(adapted, SHORT), latents(models, SHORT))
    assert adapted.adapters.loads == loads + 2
    assert places_of_weights(adapted) == places


def test_a_lora_that_was_written_anew_is_read_anew(family: Path, adapted: VideoModels, models: VideoModels) -> None:
    request = replace(SHORT, loras=(Lora(name="v1.5-light"),))
    before, loads = latents(adapted, request), adapted.adapters.loads
    write_lora(family / "v1.5-light" / "weights.safetensors", models, seed=9)
    assert not torch.equal(before, latents(adapted, request))
    assert adapted.adapters.loads == loads + 1
    adapted.adapters.clear()
    assert len(adapted.adapters) == 0
