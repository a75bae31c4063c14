"""The image autoencoder and the latent upsampler: they learn, and are written as the services load them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from milimo_image.latents import normalise
from milimo_shapes.batches import Form, draw_batch
from milimo_shapes.image_autoencoder import LATENT_CHANNELS, SPREAD, ImageAutoencoder
from milimo_shapes.image_prompts import embed_captions
from milimo_shapes.image_training import ImageTransformer, draw_part, load_tokenizer, sample
from milimo_shapes.latent_cache import STILLS, Kind, Shard, clip_of
from milimo_shapes.lesson_cache import SHARD, LessonCache, LessonKind, encode_scenes, lesson_of, write_lessons
from milimo_shapes.lessons import draw_lesson
from milimo_shapes.rendering import Canvas, draw
from milimo_shapes.scene import Scene
from milimo_shapes.upsampler_training import SpatialUpsampler, TemporalUpsampler

if TYPE_CHECKING:
    from pathlib import Path

_CPU = torch.device("cpu")
_WORDS = LessonKind(name="words", width=64, height=32, has_image=False)
_WIDE = Canvas(width=256, height=128)
_BESIDE = LessonKind(name="beside", width=64, height=32, has_image=True)


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
    assert float(tokens.mean()) == pytest.approx(0.0, abs=0.4 * SPREAD)
    assert float(tokens.std()) == pytest.approx(SPREAD, rel=0.3)


@pytest.fixture(scope="module")
def lessons(tmp_path_factory: pytest.TempPathFactory, images: tuple[Any, list[float]]) -> LessonCache:
    autoencoder, _ = images
    folder = tmp_path_factory.mktemp("lessons")
    for kind in (_WORDS, _BESIDE):
        written = write_lessons(folder, autoencoder, kind, seed=3, count=70, seconds=100, device=_CPU)
        # Only whole shards.
        assert written == SHARD
    return LessonCache(folder)


def test_a_cache_of_lessons_gives_back_what_was_encoded(images: tuple[Any, list[float]], lessons: LessonCache) -> None:
    autoencoder, _ = images
    drawn = lessons.draw(_BESIDE, SHARD, np.random.default_rng(0))
    assert len({lesson.wanted for lesson in drawn.lessons}) == SHARD
    assert set(drawn.lessons) == {lesson_of(3, _BESIDE, number) for number in range(SHARD)}
    beside = drawn.lessons[5].beside
    assert beside is not None
    assert drawn.beside is not None
    for scene, latents in ((drawn.lessons[5].wanted, drawn.wanted[5]), (beside, drawn.beside[5])):
        encoded = encode_scenes(autoencoder, [scene], _BESIDE, _CPU)[0]
        torch.testing.assert_close(latents, encoded, rtol=5e-3, atol=5e-3)


def test_lessons_of_another_autoencoder_are_removed(tmp_path: Path, images: tuple[Any, list[float]]) -> None:
    autoencoder = copy.deepcopy(images[0])

    def write(seconds: float) -> int:
        return write_lessons(tmp_path, autoencoder, _WORDS, seed=3, count=SHARD, seconds=seconds, device=_CPU)

    assert write(100.0) == SHARD
    assert write(-1.0) == SHARD
    autoencoder.bn.running_mean.add_(1.0)
    assert write(-1.0) == 0
    with pytest.raises(FileNotFoundError, match="words"):
        LessonCache(tmp_path).draw(_WORDS, 1, np.random.default_rng(0))


def test_the_image_transformer_learns_from_words_and_from_images(
    tmp_path: Path, images: tuple[Any, list[float]], lessons: LessonCache
) -> None:
    autoencoder, _ = images
    component = ImageTransformer(autoencoder=autoencoder, tokenizer=load_tokenizer(), cache=lessons)
    torch.manual_seed(0)
    model = component.build()
    for kind in (_WORDS, _BESIDE):
        random = np.random.default_rng(0)
        drawn = lessons.draw(kind, 4, random)
        assert (drawn.beside is not None) is kind.has_image
        loss = component.loss_of(model, kind, drawn, random, _CPU)
        # Of a model that says nothing it is that of noise and latents together.
        assert 0.5 < float(loss.detach()) < 5.0 * SPREAD**2
        loss.backward()
        steps = [component.loss_of_steps(model, kind, drawn, random, _CPU) for _ in range(4)]
        found = [float(step.detach()) for step in steps]
        assert min(found) > 0.1
        assert max(found) < 20.0 * SPREAD**2
        steps[0].backward()
    touched = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert touched == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    component.save(model, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"transformer", "text_encoder"}


def test_pictures_are_sampled_along_the_schedule(images: tuple[Any, list[float]], lessons: LessonCache) -> None:
    autoencoder, _ = images
    component = ImageTransformer(autoencoder=autoencoder, tokenizer=load_tokenizer(), cache=lessons)
    torch.manual_seed(0)
    model: Any = component.build()
    words = embed_captions(["a red star"], component.tokenizer, model.text_encoder.model, _CPU)
    noise = torch.randn(1, 4 * LATENT_CHANNELS, 4, 4)
    with torch.no_grad():
        torch.nn.init.zeros_(model.transformer.proj_out.weight)
        assert torch.equal(sample(model.transformer, noise, words), noise)
        # A velocity of one in every place, all the way from 1 to 0.
        model.transformer.proj_out.bias = torch.nn.Parameter(torch.ones(4 * LATENT_CHANNELS))
        torch.testing.assert_close(sample(model.transformer, noise, words), noise - 1.0)


def test_an_image_beside_shows_the_object_or_what_was_before_it() -> None:
    random = np.random.default_rng(1)
    for _ in range(40):
        lesson = draw_lesson(random, aspect=2.0, has_image=True)
        assert lesson.beside is not None
        (wanted, *kept), shown = lesson.wanted.things, lesson.beside.things
        caption = lesson.caption(random)
        assert ("the same" in caption) is (lesson.told is None)
        if lesson.told is None:
            assert (wanted.colour, wanted.shape, wanted.size) == (shown[0].colour, shown[0].shape, shown[0].size)
        else:
            assert lesson.beside.background == lesson.wanted.background
            assert set(kept) <= set(shown)
            assert wanted not in shown
            assert wanted.colour in caption


def test_what_is_painted_anew_holds_the_object() -> None:
    kind = LessonKind(name="wide", width=256, height=128, has_image=True)
    random = np.random.default_rng(2)
    lessons = [draw_lesson(random, aspect=2.0, has_image=index % 4 > 0) for index in range(120)]
    parts = draw_part(lessons, kind, random)
    kept = []
    for lesson, part in zip(lessons, parts, strict=True):
        if lesson.beside is None or lesson.told is None:
            assert bool((part == 1.0).all())
            continue
        kept.append(float((part == 0.0).float().mean()))
        masks = draw(Scene(things=lesson.wanted.things[:1], background=lesson.wanted.background), _WIDE).masks
        tokens = torch.nn.functional.max_pool2d(torch.from_numpy(masks[0]).float()[None], 16)
        assert bool((part >= tokens).all())
    assert 0.05 < float(np.mean(kept)) < 0.5


def test_lessons_of_two_objects_are_drawn_less(lessons: LessonCache) -> None:
    random = np.random.default_rng(0)
    drawn = [lesson for _ in range(40) for lesson in lessons.draw(_WORDS, 16, random).lessons]
    whole = [lesson_of(3, _WORDS, number) for number in range(SHARD)]
    shares = [np.mean([len(lesson.wanted.things) > 1 for lesson in each]) for each in (drawn, whole)]
    assert 0.2 * shares[1] < shares[0] < 0.6 * shares[1]


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
