"""The judge, held to scenes whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from milimo_shapes.judge import look
from milimo_shapes.judge_error import HARMS, clip_error, picture_error
from milimo_shapes.outlines import Shape
from milimo_shapes.regions import grow, label_regions, shrink
from milimo_shapes.rendering import Canvas, draw
from milimo_shapes.sampling import scene_of
from milimo_shapes.scene import Backdrop, Background, Colour, Motion, Scene, Size, Thing
from milimo_shapes.watching import name_motion, watch

_BACKGROUND = Background(start=Backdrop.GRAY, end=Backdrop.BLACK)


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize(("width", "height"), [(256, 128), (128, 64)])
def test_pictures_are_judged_right(harm: str, width: int, height: int) -> None:
    error = picture_error(HARMS[harm], scenes=50, seed=1, width=width, height=height)
    assert error.objects >= 50
    assert min(error.counted, error.colour, error.shape, error.size) >= 0.98, error
    assert error.distance < 0.6


@pytest.mark.parametrize("harm", ["none", "H.264, CRF 33"])
def test_clips_are_judged_right(harm: str) -> None:
    error = clip_error(HARMS[harm], scenes=8, seed=2, width=128, height=64, every=5)
    assert error.motion is not None
    assert min(error.counted, error.colour, error.shape, error.size, error.motion) >= 0.98, error


@pytest.mark.parametrize("colour", Colour)
@pytest.mark.parametrize("shape", Shape)
def test_every_colour_and_shape_is_known_on_every_background(colour: Colour, shape: Shape) -> None:
    thing = Thing(shape=shape, colour=colour, size=Size.SMALL, motion=Motion.STILL, across=0.4, down=0.6)
    for backdrop in Backdrop:
        scene = Scene(things=(thing,), background=Background(start=backdrop))
        (seen,) = look(draw(scene, Canvas(width=128, height=64)).frames[0])
        assert (seen.colour, seen.shape, seen.size) == (colour, shape, Size.SMALL)


@pytest.mark.parametrize("index", range(6))
def test_masks_are_found(index: int) -> None:
    clip = draw(scene_of(8, index), Canvas(width=256, height=128))
    found = {seen.colour: seen.mask for seen in look(clip.frames[0])}
    for thing, mask in zip(scene_of(8, index).things, clip.masks[:, 0], strict=True):
        assert (found[thing.colour] & mask).sum() / (found[thing.colour] | mask).sum() > 0.93


def test_an_empty_picture_has_no_objects() -> None:
    bare = Scene(things=(), background=_BACKGROUND)
    assert look(draw(bare, Canvas(width=128, height=64)).frames[0]) == ()
    assert watch(list(draw(bare, Canvas(width=128, height=64, frames=4)).frames)) == ()


def test_noise_is_no_object() -> None:
    random = np.random.default_rng(0)
    assert look(random.integers(0, 256, (64, 128, 3), np.uint8)) == ()


def test_objects_that_touch_are_told_apart_by_colour() -> None:
    red = Thing(shape=Shape.SQUARE, colour=Colour.RED, size=Size.LARGE, motion=Motion.STILL, across=0.3, down=0.5)
    scene = Scene(things=(red,), background=_BACKGROUND)
    picture = draw(scene, Canvas(width=256, height=128)).frames[0].copy()
    ours = np.argwhere(draw(scene, Canvas(width=256, height=128)).masks[0, 0])
    (top, left), (bottom, right) = ours.min(axis=0), ours.max(axis=0)
    picture[top:bottom, right : right + (right - left)] = (45, 85, 235)
    assert {(seen.colour, seen.shape) for seen in look(picture)} == {
        (Colour.RED, Shape.SQUARE),
        (Colour.BLUE, Shape.SQUARE),
    }


@pytest.mark.parametrize("motion", Motion)
def test_motions_are_named(motion: Motion) -> None:
    for index in range(3):
        scene = scene_of(31, index, motions=(motion,))
        tracks = watch(list(draw(scene, Canvas(width=128, height=64, frames=31, fps=6.25)).frames))
        named = {track.colour: track for track in tracks}[scene.things[0].colour]
        assert named.motion is motion
        assert (named.presence, named.constancy) == (1.0, 1.0)


def test_an_object_that_changes_its_shape_is_not_constant() -> None:
    shapes = [Shape.CIRCLE] * 6 + [Shape.STAR] * 4
    pictures = [
        draw(
            Scene(
                things=(
                    Thing(shape=shape, colour=Colour.BLUE, size=Size.LARGE, motion=Motion.STILL, across=0.5, down=0.5),
                ),
                background=_BACKGROUND,
            ),
            Canvas(width=128, height=64),
        ).frames[0]
        for shape in shapes
    ]
    (track,) = watch(pictures)
    assert (track.shape, track.constancy) == (Shape.CIRCLE, 0.6)


@pytest.mark.parametrize(
    ("x", "y", "radius", "motion"),
    [
        (np.linspace(0.5, 1.0, 20), np.full(20, 0.5), np.full(20, 0.2), Motion.RIGHT),
        (np.linspace(1.0, 0.5, 20), np.linspace(0.5, 0.55, 20), np.full(20, 0.2), Motion.LEFT),
        (np.full(20, 0.5), np.linspace(0.6, 0.3, 20), np.full(20, 0.2), Motion.UP),
        (np.full(20, 0.5), 0.5 + 0.01 * np.cos(np.arange(20)), np.full(20, 0.2), Motion.STILL),
        (np.full(20, 0.5), 0.8 - 0.2 * np.abs(np.sin(np.arange(20) / 3)), np.full(20, 0.2), Motion.BOUNCING),
        (np.full(20, 0.5), np.full(20, 0.5), np.linspace(0.15, 0.25, 20), Motion.GROWING),
    ],
)
def test_series_have_names(x: object, y: object, radius: object, motion: Motion) -> None:
    assert name_motion(np.asarray(x), np.asarray(y), np.asarray(radius)) is motion


def test_regions_are_those_that_filling_finds() -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        mask = random.random((24, 30)) < 0.55
        labels, count = label_regions(mask)
        assert ((labels > 0) == mask).all()
        assert set(np.unique(labels)) - {0} == set(range(1, count + 1))
        for label in range(1, count + 1):
            region = labels == label
            start = np.zeros_like(mask)
            start[tuple(np.argwhere(region)[0])] = True
            while not np.array_equal(grown := grow(start, 1) & mask, start):
                start = grown
            assert np.array_equal(start, region)


def test_shrinking_undoes_growing_of_a_box() -> None:
    box = np.zeros((20, 20), bool)
    box[6:14, 5:15] = True
    assert np.array_equal(shrink(grow(box, 2), 2), box)
