"""The IP-Adapter: tokens that are there, act, and are absent in the unconditional pass; files that do not fit."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from milimo_image.inpaint import inpaint as repaint
from milimo_image.ip_adapter import clip_pixels
from milimo_image.ip_adapter_files import has_ip_adapter, ip_adapter_files
from milimo_image.models import load_image_models
from milimo_image.plan import plan_image
from milimo_image.references import adapter_tokens, reference_cache
from milimo_image.request import ImageRequest, Inpaint, Outpaint, Reference, ReferenceMode
from milimo_runtime.device import device_plan
from milimo_runtime.errors import ModelMissing
from milimo_runtime.observer import Silent
from milimo_runtime.vision_ops import prepare_torchvision
from milimo_tiny.flux2_ip_adapter import ENCODER, HIDDEN_WIDTH, PROJECTED_WIDTH, TOKENS, WEIGHTS, write_ip_adapter
from PIL import Image

from .tiny import empty_caches, picture, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from milimo_image.models import ImageModels

TEXT, JOINT = 512, 48
MODES = ReferenceMode
ONE, TWO = picture(64, 64), picture(201, 77, 1)


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    return shutil.copytree(root, tmp_path / "copy")


@pytest.fixture
def texts(models: ImageModels) -> Iterator[list[int]]:
    """Text tokens of each forward pass of the transformer."""
    seen: list[int] = []
    hook = models.transformer.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["encoder_hidden_states"].shape[1]), with_kwargs=True
    )
    yield seen
    hook.remove()


@pytest.mark.parametrize(
    ("references", "mode", "fields", "text", "image"),
    [
        ([], MODES.IP_ADAPTER, {}, [0], 48),
        ([ONE], MODES.IP_ADAPTER, {}, [4], 48),
        ([ONE, TWO], MODES.IP_ADAPTER, {}, [8], 48),
        ([ONE] * 10, MODES.IP_ADAPTER, {}, [40], 48),
        ([ONE], MODES.TOKENS, {}, [0], 48 + 16),
        ([ONE], MODES.BOTH, {}, [4], 48 + 16),
        ([ONE], MODES.AUTO, {"enable_ae": True}, [0], 48 + 16),
        ([ONE], MODES.AUTO, {"enable_ae": False}, [4], 48),
        # Stripped in the unconditional pass, which comes second.
        ([ONE], MODES.IP_ADAPTER, {"enable_true_cfg": True, "negative_prompt": "blurry"}, [4, 0], 48),
        ([ONE, TWO], MODES.BOTH, {"enable_true_cfg": True}, [8, 0], 48 + 16 + 4 * 12),
    ],
)
def test_tokens_are_there(
    models: ImageModels,
    texts: list[int],
    forwards: list[int],
    references: list[Image.Image],
    mode: ReferenceMode,
    fields: dict[str, Any],
    text: list[int],
    image: int,
) -> None:
    run(models, references, reference_mode=mode, steps=2, **fields)
    assert texts == [TEXT + tokens for tokens in text] * 2
    assert forwards == [image] * 2 * len(text)


def test_the_base_checkpoint_strips_them_too(root: Path, tmp_path: Path) -> None:
    index = json.loads((root / "model_index.json").read_text())
    base = shutil.copytree(root, tmp_path / "base")
    (base / "model_index.json").write_text(json.dumps({**index, "is_distilled": False}))
    models = load_image_models(base, device_plan("cpu"))
    seen: list[int] = []
    models.transformer.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["encoder_hidden_states"].shape[1]), with_kwargs=True
    )
    run(models, [ONE], reference_mode=MODES.IP_ADAPTER, steps=1)
    assert seen == [TEXT + 4, TEXT]


def test_they_act_in_inpainting(models: ImageModels, texts: list[int], forwards: list[int]) -> None:
    """The image itself stays a reference of tokens."""
    made = []
    for references in ((), (Reference(asset_id="one", width=64, height=64),)):
        inpaint = Inpaint(image=Reference(asset_id="image", width=64, height=64), outpaint=Outpaint(right=64))
        request = ImageRequest(prompt="x", seed=5, steps=2, inpaint=inpaint, references=references, enable_ae=False)
        plan = plan_image(request, is_distilled=True, random_seed=0, ip_adapter=True)
        made.append(
            repaint(
                models,
                request,
                plan,
                Silent(),
                image=TWO.crop((0, 0, 64, 64)),
                mask=None,
                caches=empty_caches(),
                references=[ONE] * len(references),
            ).image.tobytes()
        )
    assert made[0] != made[1]
    assert texts == [TEXT] * 2 + [TEXT + 4] * 2
    assert forwards == [2 * 8 * 4] * 4


def test_they_act(models: ImageModels) -> None:
    made = {
        run(models, references, reference_mode=mode).tobytes()
        for references, mode in (
            ([], MODES.AUTO),
            ([ONE], MODES.TOKENS),
            ([ONE], MODES.IP_ADAPTER),
            ([ONE], MODES.BOTH),
            ([TWO], MODES.IP_ADAPTER),
        )
    }
    assert len(made) == 5


def test_images_are_looked_at_once(models: ImageModels) -> None:
    assert models.ip_adapter is not None
    seen: list[int] = []
    hook = models.ip_adapter.register_forward_hook(lambda *_: seen.append(1))
    caches = empty_caches()
    first = run(models, [ONE, TWO], caches=caches, reference_mode=MODES.IP_ADAPTER)
    again = run(models, [TWO, ONE.copy()], caches=caches, reference_mode=MODES.IP_ADAPTER)
    hook.remove()
    assert len(seen) == 2
    assert first.tobytes() != again.tobytes()


def test_a_token_stands_in_each_layer_of_the_text(models: ImageModels) -> None:
    tokens = adapter_tokens(models, ONE, reference_cache())
    assert tokens.shape == (1, TOKENS, JOINT)
    thirds = tokens.chunk(3, dim=2)
    assert all(torch.equal(third, thirds[0]) for third in thirds)
    # What a layer norm gives.
    assert thirds[0].mean(dim=2).abs().max() < 1e-5


def test_pixels_are_those_of_clips_own_preparation() -> None:
    prepare_torchvision()
    from transformers import CLIPImageProcessorPil

    for image in (ONE, TWO, picture(77, 300, 2), picture(32, 32, 3), picture(33, 20, 4)):
        processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
        expected = processor(images=image, return_tensors="np")["pixel_values"]
        np.testing.assert_allclose(clip_pixels(image, 32).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "image_proj.", "ip_adapter_proj_model."])
@pytest.mark.parametrize("width", [HIDDEN_WIDTH, PROJECTED_WIDTH], ids=["hidden state", "projected"])
def test_widths_and_names_are_those_of_the_file(copy: Path, prefix: str, width: int) -> None:
    from safetensors.torch import load_file, save_file

    write_ip_adapter(copy, JOINT // 3, input_width=width)
    weights = load_file(copy / WEIGHTS)
    save_file({name.replace("image_proj.", prefix): value for name, value in weights.items()}, copy / WEIGHTS)
    files = ip_adapter_files(copy)
    assert (files.input_width, files.tokens, files.token_width, files.repeats) == (width, 4, 16, 3)
    models = load_image_models(copy, device_plan("cpu"))
    assert models.ip_adapter is not None
    # The definition, written down once more.
    encoder = models.ip_adapter.encoder
    output = encoder(pixel_values=clip_pixels(ONE, 32))
    embedding = (
        output.image_embeds
        if width == PROJECTED_WIDTH
        else encoder.vision_model(pixel_values=clip_pixels(ONE, 32)).pooler_output
    )
    tokens = torch.nn.functional.linear(embedding, weights["image_proj.proj.weight"], weights["image_proj.proj.bias"])
    expected = torch.nn.functional.layer_norm(tokens.reshape(1, 4, 16), (16,)).repeat(1, 1, 3)
    made = adapter_tokens(models, ONE, reference_cache())
    torch.testing.assert_close(made, expected.detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("truncated", f"{WEIGHTS} is damaged"),
        ("text", f"{WEIGHTS} is damaged"),
        ("something else", "is no IP-Adapter"),
        ("another encoder", "reads embeddings of 7 values"),
        ("another model", "tokens of 32 values"),
        ("encoder truncated", f"{ENCODER}.*is damaged"),
        ("no encoder", f"{ENCODER}/"),
        ("no weights", WEIGHTS),
    ],
)
def test_files_that_do_not_fit_are_named(copy: Path, damage: str, words: str) -> None:
    """By their headers, and the model works without the adapter."""
    from safetensors.torch import save_file

    path, encoder = copy / WEIGHTS, copy / ENCODER / "model.safetensors"
    match damage:
        case "truncated":
            path.write_bytes(path.read_bytes()[:-100])
        case "text":
            path.write_text("this is no file of weights")
        case "something else":
            save_file({"weight": torch.zeros(3)}, path)
        case "another encoder":
            write_ip_adapter(copy, 16, input_width=7)
        case "another model":
            write_ip_adapter(copy, 32)
        case "encoder truncated":
            encoder.write_bytes(encoder.read_bytes()[:-100])
        case "no encoder":
            shutil.rmtree(copy / ENCODER)
        case "no weights":
            path.unlink()
    with pytest.raises(ModelMissing, match=words):
        ip_adapter_files(copy)
    assert has_ip_adapter(copy) == (not damage.startswith("no "))
    models = load_image_models(copy, device_plan("cpu"))
    assert models.ip_adapter is None
    assert run(models, [ONE], steps=1).size == (128, 96)
