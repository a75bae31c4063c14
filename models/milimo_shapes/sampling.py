"""Random scenes, without end, by seed.

Objects lie anywhere, unless they are posed or staged. Words are learned with such objects: see `places` and `stage`.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np

from milimo_shapes.outlines import Shape, reach
from milimo_shapes.places import begin, pose
from milimo_shapes.rendering import path, rough_film
from milimo_shapes.scene import Backdrop, Background, Colour, Motion, Scene, Size, Thing
from milimo_shapes.stage import arrangements, stage_alone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milimo_shapes.rendering import Canvas

_GAP: Final = 0.06  # between two objects, in shorter sides
_PAIRS: Final = 0.3  # the part of scenes with two objects
_GRADED: Final = 0.4  # the part of scenes with a graded background
_ATTEMPTS: Final = 40
_MOTION_VARIED: Final = 0.6  # the part of variations that are of a movement, where there are others


def scene_of(seed: int, index: int, *, aspect: float = 2.0, motions: Sequence[Motion] = tuple(Motion)) -> Scene:
    """Scene `index` of the endless row that `seed` begins, for canvases with that width ÷ height."""
    return random_scene(np.random.default_rng((seed, index)), aspect=aspect, motions=motions)


def random_scene(
    random: np.random.Generator,
    *,
    aspect: float = 2.0,
    motions: Sequence[Motion] = tuple(Motion),
    pairs: float = _PAIRS,
    posed: int = 0,
) -> Scene:
    """A scene for canvases with that width ÷ height, of objects that do one of `motions`.

    `pairs` is the probability of two objects: they differ in colour, never touch, and the second one keeps still.
    The first `posed` objects are posed.
    """
    background = _random_background(random)
    if random.random() < pairs:
        canvas = rough_film(aspect)
        for _ in range(_ATTEMPTS):
            colours = random.permutation(len(Colour))[:2]
            first = _random_thing(random, list(Colour)[colours[0]], motions)
            second = _random_thing(random, list(Colour)[colours[1]], (Motion.STILL,))
            things = _pose_first(posed, (first, second), aspect)
            if _are_apart(things, canvas):
                return Scene(things=things, background=background)
    colour = list(Colour)[random.integers(len(Colour))]
    things = _pose_first(posed, (_random_thing(random, colour, motions),), aspect)
    return Scene(things=things, background=background)


def vary(scene: Scene, random: np.random.Generator, *, motions: Sequence[Motion]) -> Scene:
    """The scene with another shape of its first object, or another movement out of `motions`.

    Objects may come closer to each other, until they are staged.
    """
    first, *others = scene.things
    possible = [motion for motion in motions if motion is not first.motion]
    if possible and random.random() < _MOTION_VARIED:
        motion = possible[random.integers(len(possible))]
        first = replace(first, motion=motion, size=Size.SMALL if motion is Motion.GROWING else first.size)
    else:
        shapes = [shape for shape in Shape if shape is not first.shape]
        first = replace(first, shape=shapes[random.integers(len(shapes))])
    return replace(scene, things=(first, *others))


def stage_scene(scene: Scene, *, aspect: float = 2.0) -> Scene:
    """The scene with its objects staged; without the second one where no arrangement keeps them apart.

    A background fades downwards: words do not tell which way.
    """
    scene = replace(scene, background=replace(scene.background, sideways=False))
    first, *others = scene.things
    canvas = rough_film(aspect)
    for second in others:
        for things in arrangements(first, second, aspect=aspect):
            if _are_apart(things, canvas):
                return replace(scene, things=things)
    return replace(scene, things=(stage_alone(first),))


def _pose_first(count: int, things: tuple[Thing, ...], aspect: float) -> tuple[Thing, ...]:
    return (*(pose(thing, aspect=aspect) for thing in things[:count]), *things[count:])


def _random_background(random: np.random.Generator) -> Background:
    start, end = (list(Backdrop)[index] for index in random.permutation(len(Backdrop))[:2])
    if random.random() >= _GRADED:
        return Background(start=start)
    return Background(start=start, end=end, sideways=bool(random.random() < 0.5))


def _random_thing(random: np.random.Generator, colour: Colour, motions: Sequence[Motion]) -> Thing:
    motion = motions[int(random.integers(len(motions)))]
    across, down = begin(motion, *random.random(2))
    return Thing(
        shape=list(Shape)[random.integers(len(Shape))],
        colour=colour,
        size=Size.SMALL if motion is Motion.GROWING or random.random() < 0.5 else Size.LARGE,
        motion=motion,
        across=float(across),
        down=float(down),
        pace=float(random.uniform(0.9, 1.1)),
        scale=float(random.uniform(0.96, 1.04)),
    )


def _are_apart(things: Sequence[Thing], canvas: Canvas) -> bool:
    """Whether the boxes around two objects never touch."""
    boxes = []
    for thing in things:
        centres, radii = path(thing, canvas)
        box = reach(thing.shape)
        low = centres - np.stack([box.left * radii, box.up * radii], axis=-1)
        high = centres + np.stack([box.right * radii, box.down * radii], axis=-1)
        boxes.append((low, high))
    gap = _GAP * canvas.side
    return all(
        bool(np.all(np.any((low_a > high_b + gap) | (low_b > high_a + gap), axis=-1)))
        for (low_a, high_a), (low_b, high_b) in combinations(boxes, 2)
    )
