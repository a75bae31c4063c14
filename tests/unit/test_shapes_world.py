"""The toy world: scenes by seed, exact truth beside the pixels, captions that say what is there."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from milimo_shapes.captions import MOTION_WORDS, SHAPE_WORDS, SIZE_WORDS, caption_of, words
from milimo_shapes.outlines import Shape, area, signed_distance
from milimo_shapes.rendering import Canvas, draw
from milimo_shapes.sampling import random_scene, scene_of
from milimo_shapes.scene import BACKDROP_RGB, RGB, Backdrop, Background, Colour, Motion, Scene, Size, Thing

_FILM = Canvas(width=128, height=64, frames=9, fps=2.0)


def _thing(motion: Motion = Motion.STILL, **given: object) -> Thing:
    values = {"shape": Shape.CIRCLE, "colour": Colour.RED, "size": Size.SMALL, "across": 0.5, "down": 0.5, **given}
    return Thing(motion=motion, **values)  # type: ignore[arg-type]


def _alone(thing: Thing) -> Scene:
    return Scene(things=(thing,), background=Background(start=Backdrop.BLACK))


def test_a_seed_repeats_and_another_differs() -> None:
    assert scene_of(3, 7) == scene_of(3, 7)
    assert len({repr(scene_of(seed, index)) for seed, index in itertools.product(range(3), range(20))}) == 60
    first, again = draw(scene_of(3, 7), _FILM), draw(scene_of(3, 7), _FILM)
    assert np.array_equal(first.frames, again.frames)


def test_all_that_the_world_has_turns_up_about_equally_often() -> None:
    scenes = [scene_of(1, index) for index in range(1200)]
    things = [scene.things[0] for scene in scenes]
    for kind, name in ((Shape, "shape"), (Colour, "colour"), (Motion, "motion")):
        for member in kind:
            share = sum(getattr(thing, name) is member for thing in things) / len(things)
            assert 0.6 / len(kind) < share < 1.4 / len(kind), (member, share)
    assert 0.1 < sum(len(scene.things) == 2 for scene in scenes) / len(scenes) < 0.35
    assert 0.3 < sum(scene.background.end is not None for scene in scenes) / len(scenes) < 0.5


@pytest.mark.parametrize("shape", Shape)
def test_an_outline_covers_its_area(shape: Shape) -> None:
    place = (np.arange(400) + 0.5 - 200) / 100
    inside = signed_distance(shape, place[None], place[:, None], np.array(1.0)) < 0
    assert inside.sum() / 100**2 == pytest.approx(area(shape), rel=0.01)
    assert area(shape) == pytest.approx(np.pi, rel=0.1)


@pytest.mark.parametrize("index", range(12))
def test_masks_and_pixels_agree(index: int) -> None:
    scene = scene_of(11, index)
    clip = draw(scene, Canvas(width=256, height=128, frames=3, fps=1.0))
    bare = draw(Scene(things=(), background=scene.background), Canvas(width=256, height=128, frames=3, fps=1.0))
    for thing, cover in zip(scene.things, clip.coverage, strict=True):
        assert (clip.frames[cover == 1.0] == np.array(RGB[thing.colour])).all()
    nothing = clip.coverage.max(axis=0) == 0.0
    assert np.array_equal(clip.frames[nothing], bare.frames[nothing])
    # Two objects never touch, and nothing is cut off at the edge.
    assert (np.count_nonzero(clip.coverage, axis=0) <= 1).all()
    for edge in (clip.coverage[..., 0, :], clip.coverage[..., -1, :], clip.coverage[..., 0], clip.coverage[..., -1]):
        assert not edge.any()


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize(("width", "height"), [(128, 64), (256, 128), (256, 256), (90, 160)])
def test_the_mask_has_the_size_that_was_said(shape: Shape, width: int, height: int) -> None:
    clip = draw(_alone(_thing(shape=shape, size=Size.LARGE)), Canvas(width=width, height=height))
    assert clip.coverage.sum() == pytest.approx(area(shape) * clip.radii[0, 0] ** 2, rel=0.02)
    assert clip.radii[0, 0] == pytest.approx(0.25 * min(width, height))


def test_objects_fill_a_cell_of_the_latents() -> None:
    smallest = min(draw(scene_of(5, index), Canvas(width=256, height=128)).radii.min() for index in range(100))
    assert smallest >= 20.0


@pytest.mark.parametrize(
    ("motion", "direction"),
    [
        (Motion.LEFT, (-1, 0)),
        (Motion.RIGHT, (1, 0)),
        (Motion.UP, (0, -1)),
        (Motion.DOWN, (0, 1)),
        (Motion.STILL, (0, 0)),
    ],
)
def test_objects_move_as_said(motion: Motion, direction: tuple[int, int]) -> None:
    for index in range(8):
        scene = scene_of(21, index, motions=(motion,))
        moved = draw(scene, Canvas(width=256, height=128, frames=2, fps=0.25)).centres[0, 1]
        moved = moved - draw(scene, Canvas(width=256, height=128)).centres[0, 0]
        assert tuple(np.sign(np.round(moved, 6))) == direction
        assert motion is Motion.STILL or np.abs(moved).sum() > 0.2 * 128


def test_growing_and_bouncing_objects_do_so() -> None:
    film = Canvas(width=256, height=128, frames=50, fps=10.0)
    grown = draw(_alone(_thing(Motion.GROWING)), film)
    assert grown.radii[0, -1] > 1.5 * grown.radii[0, 0]
    assert (np.diff(grown.radii[0]) >= 0).all()
    assert np.ptp(grown.centres[0], axis=0).max() == 0.0
    bounce = draw(_alone(_thing(Motion.BOUNCING)), film).centres[0]
    assert np.ptp(bounce[:, 0]) == 0.0
    assert (np.diff(np.sign(np.diff(bounce[:, 1]))) != 0).sum() >= 5
    assert (bounce[:, 1] <= bounce[0, 1] + 1e-9).all()


def test_a_scene_is_the_same_on_any_canvas() -> None:
    scene = scene_of(9, 4)
    small = draw(scene, Canvas(width=128, height=64, frames=5, fps=2.0))
    large = draw(scene, Canvas(width=256, height=128, frames=9, fps=4.0))
    assert large.centres[:, ::2] == pytest.approx(2 * small.centres)
    assert large.radii[:, ::2] == pytest.approx(2 * small.radii)


def test_the_start_moves_a_clip_along_its_scene() -> None:
    scene = _alone(_thing(Motion.RIGHT, across=0.1))
    whole = draw(scene, Canvas(width=128, height=64, frames=9, fps=5.0))
    later = draw(scene, Canvas(width=128, height=64, frames=5, fps=5.0, start=0.8))
    assert np.array_equal(whole.frames[4:], later.frames)


def test_graded_backgrounds_fade_from_the_one_to_the_other() -> None:
    background = Background(start=Backdrop.BLACK, end=Backdrop.TEAL, sideways=True)
    picture = draw(Scene(things=(), background=background), Canvas(width=64, height=32)).frames[0]
    assert tuple(picture[5, 0]) == BACKDROP_RGB[Backdrop.BLACK]
    assert tuple(picture[5, -1]) == BACKDROP_RGB[Backdrop.TEAL]
    assert (np.diff(picture[5, :, 1].astype(int)) >= 0).all()


def test_captions_say_what_is_there() -> None:
    random = np.random.default_rng(0)
    for index in range(200):
        scene = scene_of(2, index)
        text = caption_of(scene, random)
        assert set(re.findall(r"[a-z]+", text.lower())) <= words(), text
        for thing in scene.things:
            names = "|".join(SHAPE_WORDS[thing.shape])
            sizes = "|".join(SIZE_WORDS[thing.size])
            assert re.search(rf"\ba (({sizes}) )?{thing.colour} ({names})\b", text.lower()), (text, thing)
        said = {motion for motion, ways in MOTION_WORDS.items() if any(f" {way}" in f" {text}" for way in ways)}
        assert said <= {scene.things[0].motion}, text
        assert said or scene.things[0].motion is Motion.STILL
        if scene.background.end is not None:
            assert re.search(r"from \w+ to \w+", text)


def test_relations_hold() -> None:
    random = np.random.default_rng(1)
    told = set()
    for _ in range(300):
        scene = random_scene(random, pairs=1.0)
        if len(scene.things) < 2:
            continue
        text = caption_of(scene, random)
        centres = draw(scene, Canvas(width=256, height=128, frames=11, fps=2.2)).centres
        x, y = (centres[0] - centres[1]).T
        for relation, holds in (
            ("to the left of", x < 0),
            ("to the right of", x > 0),
            ("above", y < 0),
            ("below", y > 0),
        ):
            if f"{relation} a" in text:
                told.add(relation)
                assert holds.all(), (text, scene)
    assert told == {"to the left of", "to the right of", "above", "below"}


def test_captions_vary_and_repeat_by_seed() -> None:
    scene = scene_of(4, 1)
    texts = [caption_of(scene, np.random.default_rng(seed)) for seed in range(40)]
    assert len(set(texts)) > 25
    assert texts[3] == caption_of(scene, np.random.default_rng(3))


def test_a_picture_caption_tells_no_motion() -> None:
    random = np.random.default_rng(5)
    for index in range(60):
        text = caption_of(scene_of(6, index), random, moving=False)
        assert not any(f" {way}" in text for ways in MOTION_WORDS.values() for way in ways), text
