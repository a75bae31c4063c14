"""The native autoencoder and diffusers': the same image for the same weights, swapped without anything else."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import torch
from milimo_image.autoencoder import Autoencoder, autoencoders_at
from milimo_image.models import ImageModels, load_image_models
from milimo_image.native_autoencoder import config_of, diffusers_weights
from milimo_image.request import ReferenceMode
from milimo_runtime.device import device_plan
from milimo_runtime.errors import ModelMissing
from milimo_tiny.flux2_native import native_autoencoder

from .tiny import empty_caches, picture, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    return shutil.copytree(root, tmp_path / "copy")


def test_both_give_the_same_image(models: ImageModels) -> None:
    references = [picture(80, 64)]
    tokens = ReferenceMode.TOKENS
    images = [
        run(models, references, enable_ae=enable_ae, reference_mode=tokens).tobytes()
        for enable_ae in (True, False, None)
    ]
    assert len(set(images)) == 1


def test_a_swap_loads_the_autoencoder_and_nothing_else(root: Path) -> None:
    models = load_image_models(root, device_plan("cpu"))
    slot = models.autoencoders
    assert slot.loads == {Autoencoder.NATIVE: 1}
    parts = [models.transformer, models.text_encoder]
    caches = empty_caches()
    for enable_ae, kind, loads in (
        (True, Autoencoder.NATIVE, (1, 0)),
        (False, Autoencoder.DIFFUSERS, (1, 1)),
        (False, Autoencoder.DIFFUSERS, (1, 1)),
        (None, Autoencoder.NATIVE, (2, 1)),
    ):
        run(models, enable_ae=enable_ae, caches=caches, steps=1)
        assert slot.kind is kind
        assert (slot.loads[Autoencoder.NATIVE], slot.loads[Autoencoder.DIFFUSERS]) == loads
    assert [models.transformer, models.text_encoder] == parts


def test_weights_that_differ_give_another_image(copy: Path) -> None:
    """The native file is really read, and latents of the one are not taken for those of the other."""
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "ae.safetensors")
    weights["decoder.conv_out.bias"] += 0.5
    weights["encoder.conv_out.bias"] += 0.5
    save_file(weights, copy / "ae.safetensors")
    models, caches, references = load_image_models(copy, device_plan("cpu")), empty_caches(), [picture(64, 64)]
    tokens = ReferenceMode.TOKENS
    images = [
        run(models, references, enable_ae=enable_ae, caches=caches, reference_mode=tokens)
        for enable_ae in (True, False)
    ]
    assert images[0].tobytes() != images[1].tobytes()
    assert images[1].tobytes() == run(models, references, enable_ae=False, reference_mode=tokens).tobytes()


def test_the_native_file_alone_is_enough(copy: Path, models: ImageModels) -> None:
    shutil.rmtree(copy / "vae")
    assert autoencoders_at(copy) == {Autoencoder.NATIVE}
    alone = load_image_models(copy, device_plan("cpu"))
    assert run(alone).tobytes() == run(models).tobytes()


def test_the_folder_alone_is_enough(copy: Path, models: ImageModels) -> None:
    (copy / "ae.safetensors").unlink()
    assert autoencoders_at(copy) == {Autoencoder.DIFFUSERS}
    alone = load_image_models(copy, device_plan("cpu"))
    assert alone.autoencoders.kind is Autoencoder.DIFFUSERS


def test_one_of_them_is_needed(copy: Path) -> None:
    shutil.rmtree(copy / "vae")
    (copy / "ae.safetensors").unlink()
    with pytest.raises(ModelMissing, match=r"vae/config\.json.*ae\.safetensors"):
        load_image_models(copy, device_plan("cpu"))


@pytest.mark.parametrize("damage", ["truncated", "something else"])
def test_a_damaged_file_is_said(copy: Path, damage: str) -> None:
    from safetensors.torch import save_file

    path = copy / "ae.safetensors"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ModelMissing, match=r"FLUX\.2"):
        load_image_models(copy, device_plan("cpu"))


def test_one_that_cannot_be_loaded_leaves_the_other(copy: Path, models: ImageModels) -> None:
    (weights,) = (copy / "vae").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    loaded = load_image_models(copy, device_plan("cpu"))
    with pytest.raises(ModelMissing, match=r"autoencoder of FLUX\.2"):
        run(loaded, enable_ae=False)
    assert loaded.autoencoders.kind is Autoencoder.NATIVE
    assert run(loaded).tobytes() == run(models).tobytes()
    assert loaded.autoencoders.loads == {Autoencoder.NATIVE: 1}


def test_names_cover_the_full_size_model() -> None:
    """None is missing and none left over, and the shapes alone give the real architecture."""
    from diffusers import AutoencoderKLFlux2

    with torch.device("meta"):
        model = AutoencoderKLFlux2()
    weights = model.state_dict()
    native = native_autoencoder(weights)
    assert len(native) == len(weights)
    assert native["encoder.down.3.block.1.conv2.weight"].shape == (512, 512, 3, 3)
    assert native["decoder.up.0.block.0.nin_shortcut.weight"].shape == (128, 256, 1, 1)
    assert native["decoder.mid.attn_1.proj_out.weight"].shape == (512, 512, 1, 1)
    back = diffusers_weights(native)
    assert {name: tensor.shape for name, tensor in back.items()} == {
        name: tensor.shape for name, tensor in weights.items()
    }
    found = config_of(back)
    assert found == {name: _plain(model.config[name], found[name]) for name in found}


def _plain(value: object, like: object) -> object:
    return tuple(value) if isinstance(like, tuple) else value  # type: ignore[arg-type]
