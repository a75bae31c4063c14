"""The transformer in one file under the names of FLUX.2's own code, beside diffusers' folders."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import torch
from milimo_image.models import ImageModels, load_image_models
from milimo_image.native_transformer import config_of
from milimo_image.request import ReferenceMode
from milimo_runtime.device import device_plan
from milimo_runtime.errors import ModelMissing
from milimo_tiny.flux2_native import native_transformer, write_native_transformer

from .tiny import picture, run

if TYPE_CHECKING:
    from pathlib import Path

FILE = "flux-2-klein-9b.safetensors"


@pytest.fixture
def single(root: Path, tmp_path: Path) -> Path:
    """flux-2-klein-9b.safetensors, ae.safetensors, text_encoder/ with the tokenizer in it, and nothing else."""
    write_native_transformer(tmp_path, root / "transformer")
    shutil.copy(root / "ae.safetensors", tmp_path)
    shutil.copytree(root / "text_encoder", tmp_path / "text_encoder")
    shutil.copytree(root / "tokenizer", tmp_path / "text_encoder", dirs_exist_ok=True)
    return tmp_path


def test_one_file_gives_the_same_image(single: Path, models: ImageModels) -> None:
    loaded = load_image_models(single, device_plan("cpu"))
    assert loaded.is_distilled
    references = [picture(64, 80)]
    assert run(loaded, references).tobytes() == run(models, references).tobytes()
    # What is not there is not loaded.
    assert loaded.ip_adapter is None
    assert {**loaded.weight_bytes, "ip_adapter": models.weight_bytes["ip_adapter"]} == models.weight_bytes


def test_the_ip_adapter_lies_beside_it(single: Path, root: Path, models: ImageModels) -> None:
    """The joint width, which its tokens must fill, is read from the one file."""
    shutil.copy(root / "ip-adapter.safetensors", single)
    shutil.copytree(root / "image_encoder", single / "image_encoder")
    loaded = load_image_models(single, device_plan("cpu"))
    assert loaded.weight_bytes == models.weight_bytes
    made = [run(each, [picture(64, 80)], reference_mode=ReferenceMode.IP_ADAPTER, steps=1) for each in (loaded, models)]
    assert made[0].tobytes() == made[1].tobytes()


def test_names_may_stand_below_those_of_a_larger_model(single: Path, models: ImageModels) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(single / FILE)
    (single / FILE).unlink()
    renamed = {f"model.diffusion_model.{name}": tensor for name, tensor in weights.items()}
    save_file(renamed, single / "flux-2-klein-base-9b.safetensors")
    loaded = load_image_models(single, device_plan("cpu"))
    assert not loaded.is_distilled
    assert run(loaded, guidance=1.0).tobytes() == run(models).tobytes()


def test_another_file_under_that_name_is_said(single: Path) -> None:
    shutil.copy(single / "ae.safetensors", single / FILE)
    with pytest.raises(ModelMissing, match=r"klein-9b\.safetensors is not a transformer"):
        load_image_models(single, device_plan("cpu"))


def test_a_file_with_a_missing_weight_is_said(single: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(single / FILE)
    del weights["single_blocks.0.linear2.weight"]
    save_file(weights, single / FILE)
    with pytest.raises(ModelMissing, match=r"linear2|to_out"):
        load_image_models(single, device_plan("cpu"))


@pytest.mark.parametrize("missing", ["text_encoder/tokenizer.json", "text_encoder/config.json", "ae.safetensors"])
def test_a_missing_file_is_named(single: Path, missing: str) -> None:
    (single / missing).unlink()
    with pytest.raises(ModelMissing) as caught:
        load_image_models(single, device_plan("cpu"))
    assert missing.rsplit("/", maxsplit=1)[-1] in caught.value.message


def test_shapes_tell_the_architecture_of_the_full_size_model() -> None:
    """klein 9B: 8 double and 24 single blocks, 32 heads of 128, three layers of 4,096 as text."""
    from diffusers import Flux2Transformer2DModel
    from diffusers.loaders.single_file_utils import convert_flux2_transformer_checkpoint_to_diffusers

    with torch.device("meta"):
        model = Flux2Transformer2DModel(
            num_layers=8,
            num_single_layers=24,
            num_attention_heads=32,
            joint_attention_dim=3 * 4096,
            guidance_embeds=False,
        )
        weights = model.state_dict()
        native = native_transformer(weights)
        found = config_of(native)
        back = convert_flux2_transformer_checkpoint_to_diffusers(dict(native))
    assert found == {name: type(found[name])(model.config[name]) for name in found}
    assert {name: tensor.shape for name, tensor in back.items()} == {
        name: tensor.shape for name, tensor in weights.items()
    }
