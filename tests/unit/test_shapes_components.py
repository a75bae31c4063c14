"""The image autoencoder and the latent upsampler: they learn, and are written as the services load them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from milimo_image.latents import normalise
from milimo_shapes.batches import Form, draw_batch
from milimo_shapes.image_autoencoder import LATENT_CHANNELS, ImageAutoencoder
from milimo_shapes.image_training import ImageTransformer, draw_lesson, load_tokenizer
from milimo_shapes.latent_cache import STILLS, Kind, Shard, clip_of
from milimo_shapes.upsampler_training import SpatialUpsampler, TemporalUpsampler

if TYPE_CHECKING:
    from pathlib import Path

_CPU = torch.device("cpu")


def _learn(component: Any, steps: int) -> tuple[torch.nn.Module, list[float]]:
    torch.manual_seed(0)
    model = component.build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(steps):
        torch.manual_seed(1)
        # The same step over and over.
        loss = component.losses(model, 0, 1, _CPU)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return model.eval(), losses


@pytest.fixture(scope="module")
def images() -> tuple[Any, list[float]]:
    return _learn(ImageAutoencoder(), 4)


def test_the_image_autoencoder_learns(images: tuple[Any, list[float]]) -> None:
    _, losses = images
    assert losses[-1] < 0.9 * losses[0]


def test_its_statistics_normalise_what_the_service_normalises(tmp_path: Path, images: tuple[Any, list[float]]) -> None:
    from diffusers import AutoencoderKLFlux2

    model, _ = images
    ImageAutoencoder().save(model, tmp_path)
    loaded = AutoencoderKLFlux2.from_pretrained(tmp_path / "vae")
    pixels = draw_batch(9, 0, Form(clips=4, frames=1, width=256, height=256)).pixels[:, :, 0]
    with torch.no_grad():
        latents = loaded.encode(pixels).latent_dist.mode()
        tokens = normalise(latents, loaded)
    assert latents.shape == (4, LATENT_CHANNELS, 32, 32)
    assert tokens.shape == (4, 4 * LATENT_CHANNELS, 16, 16)
    assert float(tokens.mean()) == pytest.approx(0.0, abs=0.4)
    assert float(tokens.std()) == pytest.approx(1.0, abs=0.3)


def test_the_image_transformer_learns_from_words_and_from_images(
    tmp_path: Path, images: tuple[Any, list[float]]
) -> None:
    autoencoder, _ = images
    component = ImageTransformer(autoencoder=autoencoder, tokenizer=load_tokenizer())
    torch.manual_seed(0)
    model = component.build()
    for has_image, name in ((False, "words"), (True, "beside")):
        random = np.random.default_rng(0)
        lessons = [draw_lesson(random, aspect=2.0, has_image=has_image) for _ in range(4)]
        assert all((lesson.beside is not None) is has_image for lesson in lessons)
        losses = component.loss_of(model, lessons, 128, 64, _CPU)
        assert torch.isfinite(losses[name])
        losses["loss"].backward()
    touched = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert touched == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    component.save(model, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"transformer", "text_encoder"}


def test_an_image_beside_shows_the_object_or_what_was_before_it() -> None:
    random = np.random.default_rng(1)
    for _ in range(40):
        lesson = draw_lesson(random, aspect=2.0, has_image=True)
        assert lesson.beside is not None
        (wanted, *kept), shown = lesson.wanted.things, lesson.beside.things
        if "the same" in lesson.caption:
            assert (wanted.colour, wanted.shape, wanted.size) == (shown[0].colour, shown[0].shape, shown[0].size)
        else:
            assert lesson.beside.background == lesson.wanted.background
            assert set(kept) <= set(shown)
            assert wanted not in shown
            assert wanted.colour in lesson.caption


class _Cache:
    """Pictures and clips whose latents at full size are those at half size, or at half the rate, twice as large."""

    def size(self, kind: Kind) -> int:
        return 1

    def shard(self, kind: Kind, index: int) -> Shard:
        torch.manual_seed(0)
        half = torch.randn(16, 32, 1 if kind is STILLS else 6, 4, 8)
        full = torch.nn.functional.interpolate(half, scale_factor=(1, 2, 2))
        clips = tuple(clip_of(0, kind, number) for number in range(16))
        return Shard(clips=clips, latents={"half": half, "full": full, "slow": full[:, :, 1::2]}, keyframes={})

    def restore(self, latents: torch.Tensor) -> torch.Tensor:
        return latents


@pytest.mark.parametrize(("kind", "shape"), [(SpatialUpsampler, (2, 8, 16)), (TemporalUpsampler, (3, 4, 8))])
def test_the_upsamplers_learn(tmp_path: Path, kind: Any, shape: tuple[int, int, int]) -> None:
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel

    component = kind(cache=_Cache())
    model, losses = _learn(component, 8)
    assert losses[-1] < 0.85 * losses[0]
    with torch.no_grad():
        figures = component.evaluate(model, _CPU, tmp_path)
    assert set(figures) == {each.name for each in component.kinds}
    component.save(model, tmp_path)
    loaded = LTX2LatentUpsamplerModel.from_pretrained(tmp_path / component.part)
    assert loaded(torch.zeros(1, 32, 2, 4, 8)).shape == (1, 32, *shape)
