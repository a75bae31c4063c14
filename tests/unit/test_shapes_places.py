"""Where posed objects lie, and the noise that says so."""

from __future__ import annotations

import numpy as np
import torch
from milimo_shapes.coupling import couple
from milimo_shapes.lessons import draw_lesson
from milimo_shapes.places import STEP, Choice, open_places
from milimo_shapes.rendering import Canvas, draw
from milimo_shapes.sampling import random_scene

_CANVAS = Canvas(width=256, height=128)


def test_posed_objects_lie_on_the_grid_and_could_lie_elsewhere_on_it() -> None:
    random = np.random.default_rng(0)
    counts = []
    for _ in range(200):
        scene = random_scene(random, posed=2)
        choices = open_places(scene, aspect=2.0, told=len(scene.things))
        centres = draw(scene, _CANVAS).centres[:, 0] / _CANVAS.side
        for choice, centre in zip(choices, centres, strict=True):
            np.testing.assert_allclose(choice.own, centre, atol=1e-5)
            assert choice.own in choice.possible
            assert len(set(choice.possible)) == len(choice.possible)
            steps = np.array(choice.possible) / STEP
            np.testing.assert_allclose(steps, steps.round(), atol=1e-4)
        counts.append(len(choices[0].possible))
    assert max(counts) == 21
    assert min(counts) < 4


def test_two_objects_stay_on_their_sides_wherever_they_lie() -> None:
    random = np.random.default_rng(1)
    told = 0
    for _ in range(200):
        scene = random_scene(random, posed=2, pairs=1.0)
        if len(scene.things) < 2:
            continue
        told += 1
        first, second = open_places(scene, aspect=2.0, told=2)
        x, y = np.subtract(first.own, second.own)
        for place in second.possible:
            there_x, there_y = np.subtract(first.own, place)
            assert (abs(x) > abs(y)) == (abs(there_x) > abs(there_y))
            assert (x if abs(x) > abs(y) else y) * (there_x if abs(x) > abs(y) else there_y) > 0
    assert told > 100


def test_an_image_may_say_where_an_object_lies() -> None:
    random = np.random.default_rng(2)
    found = set()
    for _ in range(200):
        lesson = draw_lesson(random, aspect=2.0, has_image=True)
        assert lesson.beside is not None
        takes_place = lesson.told is not None and len(lesson.beside.things) == len(lesson.wanted.things)
        assert len(lesson.choices()) == (0 if takes_place else 1)
        found.add((lesson.told is None, len(lesson.beside.things), takes_place))
    assert len(found) == 4


def test_the_greatest_value_is_that_of_the_own_place() -> None:
    torch.manual_seed(0)
    random = np.random.default_rng(3)
    places = [(0.25, 0.25), (0.375, 0.25), (1.0, 0.25), (1.0, 0.625)]
    for cell, size in ((STEP, (8, 16)), (0.5, (2, 4))):
        noise = torch.randn(500, 32, *size)
        before = noise.clone()
        own = [[places[index] for index in random.integers(len(places), size=2)] for _ in noise]
        choices = [[Choice(own=place, possible=tuple(places)) for place in each] for each in own]
        couple(noise, choices, cell=cell)
        assert torch.equal(noise.flatten(1).sort().values, before.flatten(1).sort().values)
        changed = (noise != before).flatten(1).sum(dim=1)
        assert set(changed.tolist()) == {0, 2, 4}
        # Places that are as likely as each other leave every value as normal as it was.
        assert float(noise.mean(dim=0).abs().max()) < 5.0 / 500**0.5
        assert float((noise.std(dim=0) - 1.0).abs().max()) < 5.0 / 1000**0.5
        # Once coupled, nothing is left to change.
        again = noise.clone()
        couple(again, choices, cell=cell)
        assert torch.equal(again, noise)
