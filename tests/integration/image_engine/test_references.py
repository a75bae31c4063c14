"""Reference images: the same result as diffusers' pipeline, tokens that are there, and latents made once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import torch
from milimo_image.decode import decode_latents
from milimo_image.references import encode_image, fit_reference, reference_cache, reference_tokens
from milimo_image.request import ReferenceMode

from .tiny import empty_caches, picture, pipeline_image, run

if TYPE_CHECKING:
    from pathlib import Path

    from milimo_image.models import ImageModels
    from PIL import Image

SMALL, WIDE, LARGE = picture(64, 64), picture(201, 77, 1), picture(1201, 1000, 2)


@pytest.mark.parametrize("enable_ae", [True, False], ids=["native", "diffusers"])
@pytest.mark.parametrize(
    "references", [[SMALL], [WIDE], [WIDE, SMALL], [SMALL] * 10], ids=["one", "cropped", "two", "ten"]
)
def test_equals_the_pipeline(models: ImageModels, root: Path, references: list[Image.Image], enable_ae: bool) -> None:
    made = run(models, references, enable_ae=enable_ae, reference_mode=ReferenceMode.TOKENS)
    assert made.tobytes() == pipeline_image(root, image=references).tobytes()
    assert made.tobytes() != run(models).tobytes()


def test_equals_the_pipeline_where_it_scales_down(models: ImageModels, root: Path) -> None:
    references = [LARGE, SMALL]
    assert run(models, references, steps=1).tobytes() == (
        pipeline_image(root, image=references, num_inference_steps=1).tobytes()
    )


def test_a_single_reference_may_be_larger(models: ImageModels, forwards: list[int]) -> None:
    run(models, [LARGE], steps=1)
    run(models, [LARGE, SMALL], steps=1)
    single, several = 8 * 6 + 75 * 62, 8 * 6 + 70 * 58 + 4 * 4
    assert forwards == [single, several]


def test_the_order_of_references_counts(models: ImageModels) -> None:
    assert run(models, [WIDE, SMALL]).tobytes() != run(models, [SMALL, WIDE]).tobytes()


def test_positions() -> None:
    made = reference_tokens([torch.zeros(1, 16, 2, 3), torch.zeros(1, 16, 1, 1)])
    assert made is not None
    assert made.tokens.shape == (1, 7, 16)
    assert made.positions[0].tolist() == [
        *([10, row, column, 0] for row in range(2) for column in range(3)),
        [20, 0, 0, 0],
    ]


def test_latents_are_made_once_for_the_same_pixels(models: ImageModels, calls: Counter[str]) -> None:
    caches = empty_caches()
    first = run(models, [WIDE, SMALL], caches=caches)
    assert calls["encoder"] == 2
    again = run(models, [WIDE.copy(), SMALL], caches=caches)
    assert calls["encoder"] == 2
    assert again.tobytes() == first.tobytes()
    other = WIDE.copy()
    other.putpixel((100, 30), tuple(255 - value for value in other.getpixel((100, 30))))  # type: ignore[union-attr]
    assert run(models, [other, SMALL], caches=caches).tobytes() != first.tobytes()
    assert calls["encoder"] == 3


def test_a_large_image_before_changes_no_latents(models: ImageModels) -> None:
    """It is decoded in tiles; references are encoded as a whole, also those that are longer than a tile."""
    image = picture(models.vae.tile_sample_min_size + 16, 64)
    before = encode_image(models, image, reference_cache())
    decode_latents(models, torch.zeros(1, models.vae.config.latent_channels, 8, 8), tiled=True)
    assert torch.equal(encode_image(models, image, reference_cache()), before)


def test_sizes_that_do_not_fit_are_refused(models: ImageModels) -> None:
    with pytest.raises(ValueError, match="201 × 77"):
        encode_image(models, WIDE, reference_cache())
    assert fit_reference(WIDE, max_pixels=10**9).size == (192, 64)
    assert fit_reference(SMALL, max_pixels=10**9).tobytes() == SMALL.tobytes()


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ({}, 1),
        ({"negative_prompt": "blurry"}, 1),
        ({"enable_true_cfg": True}, 2),
        ({"enable_true_cfg": True, "negative_prompt": "blurry"}, 2),
        ({"enable_true_cfg": True, "negative_prompt": "blurry", "cfg_scale": 1.0}, 1),
    ],
)
def test_forwards(models: ImageModels, forwards: list[int], fields: dict[str, Any], passes: int) -> None:
    run(models, [SMALL], steps=3, **fields)
    assert forwards == [8 * 6 + 4 * 4] * 3 * passes


@pytest.mark.parametrize("references", [[], [SMALL]], ids=["text", "reference"])
@pytest.mark.parametrize(("negative", "scale"), [("", 2.0), ("blurry", 2.0), ("blurry", 3.5)])
def test_true_cfg_equals_the_pipeline(
    models: ImageModels, root: Path, references: list[Image.Image], negative: str, scale: float
) -> None:
    made = run(models, references, enable_true_cfg=True, negative_prompt=negative, cfg_scale=scale)
    expected = pipeline_image(
        root, guided=True, image=references or None, negative_prompt=negative, guidance_scale=scale
    )
    assert made.tobytes() == expected.tobytes()


def test_a_negative_prompt_acts_with_true_cfg_only(models: ImageModels) -> None:
    plain = run(models)
    assert run(models, negative_prompt="blurry").tobytes() == plain.tobytes()
    guided = [run(models, enable_true_cfg=True, negative_prompt=text).tobytes() for text in ("", "blurry")]
    assert len({plain.tobytes(), *guided}) == 3
