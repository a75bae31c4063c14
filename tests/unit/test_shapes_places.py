"""Where posed objects lie, and the noise that says so."""

from __future__ import annotations

import numpy as np
import torch
from milimo_shapes.coupling import couple, move, settle
from milimo_shapes.lessons import draw_lesson
from milimo_shapes.places import Choice, open_places
from milimo_shapes.rendering import Canvas, draw
from milimo_shapes.sampling import random_scene

_CANVAS = Canvas(width=256, height=128)
# Of the grid, along upright movements.
_STEP = 0.125


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
            steps = np.array(choice.possible) / _STEP
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


def _latents(centres: list[tuple[float, float]], *, size: tuple[int, int], cell: float) -> torch.Tensor:
    """What round objects add, each with a vector of its own: [C, rows, columns]."""
    rows, columns = ((torch.arange(length) + 0.5) * cell for length in size)
    torch.manual_seed(5)
    vectors = torch.randn(2, 8, 1, 1)
    near = [((rows[:, None] - y).hypot(columns[None] - x) < 0.2).float() for x, y in centres]
    return torch.stack([vector * part for vector, part in zip(vectors, near, strict=False)]).sum(dim=0)


def test_objects_lie_where_they_are_most_like_the_noise() -> None:
    cell, size = 0.125, (8, 16)
    random = np.random.default_rng(3)
    scenes = [random_scene(random, posed=2) for _ in range(60)]
    choices = [open_places(scene, aspect=2.0, told=len(scene.things)) for scene in scenes]
    added = torch.stack([_latents([choice.own for choice in each], size=size, cell=cell) for each in choices])
    torch.manual_seed(0)
    noise = torch.randn_like(added)
    coupled = couple(noise, added, choices, cell)

    def likes_own_place_best(noise: torch.Tensor, index: int) -> bool:
        own = [choice.own for choice in choices[index]]
        found = []
        for number, choice in enumerate(choices[index]):
            at = [[*own[:number], place, *own[number + 1 :]] for place in choice.possible]
            likeness = [float((noise[index] * _latents(places, size=size, cell=cell)).sum()) for places in at]
            found.append(likeness[choice.possible.index(choice.own)] >= max(likeness) - 1e-3)
        return all(found)

    before, after = (sum(likes_own_place_best(each, index) for index in range(60)) for each in (noise, coupled))
    assert before < 25
    assert after > 57
    # Shifted only, and only where there is a choice.
    torch.testing.assert_close(coupled.flatten(1).sort().values, noise.flatten(1).sort().values)
    assert torch.equal(couple(noise, added, [[]] * 60, cell), noise)


def test_noise_that_is_coupled_is_as_normal_as_before() -> None:
    cell, size = 0.25, (4, 8)
    places = [(0.5 * x + 0.25, 0.5 * y + 0.25) for x in range(4) for y in range(2)]
    random = np.random.default_rng(4)
    own = [places[index] for index in random.integers(len(places), size=800)]
    choices = [[Choice(own=place, possible=tuple(places), radius=0.2)] for place in own]
    added = torch.stack([_latents([place], size=size, cell=cell) for place in own])
    torch.manual_seed(0)
    noise = couple(torch.randn_like(added), added, choices, cell)
    assert float(noise.mean(dim=0).abs().max()) < 5.0 / 800**0.5
    assert float((noise.std(dim=0) - 1.0).abs().max()) < 5.0 / 1600**0.5


def test_objects_move_to_where_they_were_made() -> None:
    cell, size = 0.25, (4, 8)
    places = [(0.5 * x + 0.25, 0.5 * y + 0.25) for x in range(4) for y in range(2)]
    added = torch.stack([_latents([place], size=size, cell=cell) for place in places])
    choices = [[Choice(own=place, possible=tuple(places), radius=0.2)] for place in places]
    torch.manual_seed(0)
    made = 0.3 * added.roll(1, dims=0) + 0.1 * torch.randn_like(added)
    torch.testing.assert_close(move(made, added, choices, cell), added.roll(1, dims=0))
    assert torch.equal(move(made, added, [[]] * 8, cell), added)
    left = torch.zeros(*size)
    left[:, :4] = 1.0
    near = [[choice.within(left, cell)] for (choice,) in choices]
    assert [len(choice.possible) for (choice,) in near] == [4] * 4 + [5] * 4
    # It was made to the right, where it may not be.
    found = move(made[:1], added[:1], near[:1], cell)
    assert any(
        torch.equal(found, added[:1].roll(2 * right, dims=3).roll(2 * down, dims=2))
        for right in (0, 1)
        for down in (0, 1)
    )


def test_one_object_settles_at_the_place_nearest_to_the_middle() -> None:
    cell, size = 0.25, (4, 8)
    places = [(0.5 * x + 0.25, 0.5 * y + 0.25) for x in range(4) for y in range(2)]
    added = torch.cat([_latents([place], size=size, cell=cell)[None] for place in places])
    choices = [[Choice(own=place, possible=tuple(places), radius=0.2)] for place in places]
    settled = settle(added, choices, cell, [(1.3, 0.8)] * 8)
    for each in settled:
        torch.testing.assert_close(each, added[places.index((1.25, 0.75))])
    # Of four that are as near, always the same.
    between = settle(added, choices, cell, [(1.0, 0.5)] * 8)
    assert all(torch.equal(each, between[0]) for each in between)
    assert torch.equal(settle(added, [[], *[2 * each for each in choices[1:]]], cell, [(1.0, 0.5)] * 8), added)
