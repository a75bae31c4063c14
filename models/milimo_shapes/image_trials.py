"""Trials of the image model, through the service's engine: from words, with a reference, and inpainting."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from milimo_image.engine import Caches, generate
from milimo_image.inpaint import inpaint
from milimo_image.models import load_image_models
from milimo_image.plan import plan_image
from milimo_image.prompts import prompt_cache
from milimo_image.references import reference_cache
from milimo_image.request import ImageRequest, Inpaint, Reference
from milimo_runtime.device import device_plan
from milimo_runtime.observer import Silent
from PIL import Image

from milimo_shapes.captions import caption_of, caption_of_reference
from milimo_shapes.findings import Finding, Trial
from milimo_shapes.judge import look
from milimo_shapes.rendering import Canvas, draw
from milimo_shapes.sampling import random_scene
from milimo_shapes.scene import Motion, Scene

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from milimo_image.models import ImageModels

    from milimo_shapes.arrays import Bytes
    from milimo_shapes.judge import Seen
    from milimo_shapes.scene import Thing

# No training draws from it.
_HELD_OUT: Final = 2**31 + 7
_WIDTH: Final = 256
_HEIGHT: Final = 128
_WORDS: Final = 100
_BESIDE: Final = 40
_SHOWN: Final = 4
# Where an object that inpainting shall add finds room: the right half.
_MASKED_FROM: Final = _WIDTH // 2


def image_trials(root: Path, share: float) -> Iterator[Trial]:
    """The trials of the checkpoint at `root`, with that share of their prompts."""
    models = load_image_models(root, device_plan("cpu"))
    yield _from_words(models, max(1, round(share * _WORDS)))
    yield _with_reference(models, max(1, round(share * _BESIDE)))
    for crop_padding in (0, None):
        yield _inpainted(models, max(1, round(share * _BESIDE)), crop_padding)


def _from_words(models: ImageModels, count: int) -> Trial:
    random = np.random.default_rng(_HELD_OUT)
    pictures, colours, shapes = [], 0, 0
    for seed in range(count):
        scene = _still(random)
        picture = _make(models, caption_of(scene, random, moving=False), seed)
        found = _find(scene.things[0], picture)
        colours += found is not None
        shapes += found is not None and found.shape is scene.things[0].shape
        pictures.append(picture)
    return Trial(
        findings=(
            Finding(name=f"text to image, {count} prompts: colour", value=colours / count, wanted=0.95),
            Finding(name="text to image: shape", value=shapes / count, wanted=0.90),
        ),
        rows=(pictures[:_SHOWN],),
    )


def _with_reference(models: ImageModels, count: int) -> Trial:
    random = np.random.default_rng((_HELD_OUT, 1))
    rows, right = [], 0
    for seed in range(count):
        shown, other = _still(random), _still(random)
        given = _draw(shown)
        picture = _make(models, caption_of_reference(other.background, random), seed, references=(given,))
        found = _find(shown.things[0], picture)
        right += found is not None and found.shape is shown.things[0].shape
        rows += [given, picture]
    name = f"reference image, {count} of them: colour and shape kept"
    return Trial(findings=(Finding(name=name, value=right / count, wanted=0.85),), rows=(rows[:_SHOWN],))


def _inpainted(models: ImageModels, count: int, crop_padding: int | None) -> Trial:
    """An object is asked for in the right half; in half of the images there is one in the left.

    Cropped to the mask, all that the model works on shall change. On a whole image it has placed the object before
    there is anything to see of the mask: that is told, but nothing is wanted of it.
    """
    random = np.random.default_rng((_HELD_OUT, 2))
    mask = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    mask[:, _MASKED_FROM:] = 255
    rows, right = [], 0
    for seed in range(count):
        scene, there = _still(random), _still(random)
        left = replace(there.things[0], across=0.0)
        has_other = seed % 2 == 1 and left.colour is not scene.things[0].colour
        given = _draw(replace(scene, things=(left,) if has_other else ()))
        words = caption_of(scene, random, moving=False)
        picture = _make(models, words, seed, references=(given,), mask=mask, crop_padding=crop_padding)
        found = _find(scene.things[0], picture)
        right += found is not None and found.shape is scene.things[0].shape and found.x * _HEIGHT >= _MASKED_FROM
        rows += [given, picture]
    if crop_padding is None:
        name, wanted = "the same, not cropped to the mask", None
    else:
        name = f"inpainting, {count} images, cropped to the mask: the object that was asked for, inside the mask"
        wanted = 0.85
    return Trial(findings=(Finding(name=name, value=right / count, wanted=wanted),), rows=(rows[:_SHOWN],))


def _make(
    models: ImageModels,
    prompt: str,
    seed: int,
    *,
    references: tuple[Bytes, ...] = (),
    mask: Bytes | None = None,
    crop_padding: int | None = None,
) -> Bytes:
    """An image; with a mask, the reference is what it lies on."""
    named = tuple(Reference(asset_id=str(index), width=_WIDTH, height=_HEIGHT) for index in range(len(references)))
    images = [Image.fromarray(pixels) for pixels in references]
    request = ImageRequest(
        prompt=prompt,
        width=_WIDTH,
        height=_HEIGHT,
        seed=seed,
        references=() if mask is not None else named,
        inpaint=None
        if mask is None
        else Inpaint(image=named[0], mask=replace(named[0], asset_id="mask"), crop_padding=crop_padding),
    )
    plan = plan_image(
        request, is_distilled=models.is_distilled, random_seed=0, autoencoders=frozenset({models.autoencoders.kind})
    )
    caches = Caches(prompts=prompt_cache(), references=reference_cache())
    if mask is None:
        made = next(generate(models, request, plan, Silent(), references=images, caches=caches))
    else:
        made = inpaint(models, request, plan, Silent(), image=images[0], mask=Image.fromarray(mask), caches=caches)
    pixels: Bytes = np.asarray(made.image.convert("RGB"))
    return pixels


def _still(random: np.random.Generator) -> Scene:
    return random_scene(random, aspect=_WIDTH / _HEIGHT, motions=(Motion.STILL,), pairs=0.0)


def _draw(scene: Scene) -> Bytes:
    picture: Bytes = draw(scene, Canvas(width=_WIDTH, height=_HEIGHT)).frames[0]
    return picture


def _find(thing: Thing, picture: Bytes) -> Seen | None:
    """The largest object of that colour."""
    return next((seen for seen in look(picture) if seen.colour is thing.colour), None)
