"""The official files' weights beside diffusers' full-size models: every name is known, and every shape fits."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from milimo_runtime.vision_ops import prepare_torchvision
from milimo_video.checkpoint_files import SINGLE_FILE_PARTS
from milimo_video.official_config import part_config, upsampler_config
from milimo_video.official_names import part_names
from milimo_video.safetensors_header import Header, TensorFact

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA = Path(__file__).parent.parent / "data"


@cache
def published(name: str) -> Mapping[str, tuple[int, ...]]:
    """Names and shapes of the file `name` under tests/data; `{0..47}` stands for a line for each number."""
    shapes: dict[str, tuple[int, ...]] = {}
    for line in (DATA / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        weight, sizes = line.split(" ")
        shape = () if sizes == "-" else tuple(map(int, sizes.split("x")))
        numbered = re.search(r"\{(\d+)\.\.(\d+)\}", weight)
        numbers = range(int(numbered.group(1)), int(numbered.group(2)) + 1) if numbered else ()
        shapes |= {weight.replace(numbered.group(0), str(n)): shape for n in numbers} if numbered else {weight: shape}
    return shapes


def header(name: str, config: Mapping[str, Any]) -> Header:
    facts = {weight: TensorFact(shape=shape, dtype="BF16") for weight, shape in published(name).items()}
    return Header(tensors=facts, metadata={"config": json.dumps(config)})


# As in the published files, as far as it differs from the official code's own defaults.
CONFIG = {
    "transformer": {"rope_type": "split", "frequencies_precision": "float64", "av_ca_timestep_scale_multiplier": 1000},
    "audio_vae": {"model": {"params": {"ddconfig": {"mel_bins": 64, "mid_block_add_attention": False}}}},
    "vocoder": {"resblock": "1", "stereo": True},
}


def kinds() -> dict[str, Any]:
    prepare_torchvision()
    import diffusers
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
    from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder

    return {
        "connectors": LTX2TextConnectors,
        "transformer": diffusers.LTX2VideoTransformer3DModel,
        "vae": diffusers.AutoencoderKLLTX2Video,
        "audio_vae": diffusers.AutoencoderKLLTX2Audio,
        "vocoder": LTX2Vocoder,
    }


@pytest.mark.parametrize("part", SINGLE_FILE_PARTS)
def test_every_weight_of_the_full_size_part_is_found_and_none_is_left_over(part: str) -> None:
    head = header("ltx-2-19b", CONFIG)
    names = part_names(list(head.tensors), part)
    with torch.device("meta"):
        model = kinds()[part].from_config(part_config(head, part))
    found = {ours: head.tensors[theirs].shape for theirs, ours in names.items()}
    assert len(found) == len(names)
    assert found == {name: tuple(weight.shape) for name, weight in model.state_dict().items()}


def test_every_weight_of_the_file_belongs_to_one_part() -> None:
    head = header("ltx-2-19b", {})
    taken = [name for part in SINGLE_FILE_PARTS for name in part_names(list(head.tensors), part)]
    assert sorted(taken) == sorted(head.tensors)


def test_statistics_of_statistics_are_of_no_use() -> None:
    unused = [
        f"{part}.per_channel_statistics.{name}"
        for part in ("vae", "audio_vae")
        for name in ("channel", "mean-of-stds", "mean-of-stds_over_std-of-means")
    ]
    assert all(not part_names(unused, part) for part in ("vae", "audio_vae"))


@pytest.mark.parametrize("kind", ["spatial", "temporal"])
def test_every_weight_of_an_upsampler_is_found(kind: str) -> None:
    prepare_torchvision()
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel

    head = header(f"ltx-2-{kind}-upscaler-x2", {})
    config = upsampler_config(head)
    assert (config["spatial_upsample"], config["temporal_upsample"]) == (kind == "spatial", kind == "temporal")
    with torch.device("meta"):
        model: Any = LTX2LatentUpsamplerModel(**config)
    assert {name: fact.shape for name, fact in head.tensors.items()} == {
        name: tuple(weight.shape) for name, weight in model.state_dict().items()
    }
