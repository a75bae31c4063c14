"""Sentences about scenes, by a small grammar with varied wording. A caption says only what the scene shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from milimo_shapes.outlines import Shape
from milimo_shapes.rendering import path, rough_film
from milimo_shapes.scene import Backdrop, Colour, Motion, Size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from milimo_shapes.arrays import Floats
    from milimo_shapes.scene import Background, Scene, Thing

SHAPE_WORDS: Final[Mapping[Shape, Sequence[str]]] = {
    Shape.CIRCLE: ("circle", "circle", "disc"),
    Shape.SQUARE: ("square", "square", "box"),
    Shape.TRIANGLE: ("triangle",),
    Shape.STAR: ("star",),
}
SIZE_WORDS: Final[Mapping[Size, Sequence[str]]] = {
    Size.SMALL: ("small", "small", "little"),
    Size.LARGE: ("large", "large", "big"),
}
MOTION_WORDS: Final[Mapping[Motion, Sequence[str]]] = {
    Motion.STILL: ("stands still", "does not move", "stays in place", "rests"),
    Motion.LEFT: ("moves left", "moves to the left", "slides left", "drifts to the left"),
    Motion.RIGHT: ("moves right", "moves to the right", "slides right", "drifts to the right"),
    Motion.UP: ("moves up", "rises", "moves upwards", "floats up"),
    Motion.DOWN: ("moves down", "falls", "moves downwards", "sinks down"),
    Motion.GROWING: ("grows", "grows larger", "gets bigger", "expands"),
    Motion.BOUNCING: ("bounces", "bounces up and down", "jumps up and down", "hops"),
}
BACKDROP_WORDS: Final[Mapping[Backdrop, Sequence[str]]] = {
    Backdrop.BLACK: ("black",),
    Backdrop.GRAY: ("gray", "gray", "grey"),
    Backdrop.BROWN: ("brown",),
    Backdrop.TEAL: ("teal",),
}
_PLAIN: Final = ("on a {0} background", "against a {0} background", "in front of a {0} background", "on {0}")
_GRADED: Final = (
    "on a background that fades from {0} to {1}",
    "on a background fading from {0} to {1}",
    "on a gradient from {0} to {1}",
)
_OPENINGS: Final = ("", "", "", "", "a video of ", "an animation of ")
_PICTURE_OPENINGS: Final = ("", "", "", "", "a picture of ", "an image of ")
# The part of captions that name a large size, which is the usual one, or that say of a resting object that it rests.
_SIZED: Final = 0.7
_RESTING: Final = 0.6
# How the first object lies to the second: beside or above by more than it lies off in the other direction.
RELATIONS: Final = ("next to", "to the left of", "to the right of", "above", "below")
_REPEATED: Final = ("the same object", "the same shape", "the same thing")


def words() -> frozenset[str]:
    """Every word that captions are made of, in lower case."""
    parts: list[str] = ["a", "an", "and", "while", "with", *RELATIONS]
    for table in (SHAPE_WORDS, SIZE_WORDS, MOTION_WORDS, BACKDROP_WORDS):
        for choices in table.values():
            parts += choices
    parts += [*Colour, *_PLAIN, *_GRADED, *_OPENINGS, *_PICTURE_OPENINGS, *_REPEATED]
    return frozenset(word for part in parts for word in part.replace("{0}", "").replace("{1}", "").split())


def sentences_of_words() -> list[str]:
    """Text for a tokenizer to learn each word of captions from: within a sentence, at its start, with a capital."""
    known = sorted(words())
    return ([f"{word} {word}" for word in known] + [word.capitalize() for word in known]) * 2


def caption_of(scene: Scene, random: np.random.Generator, *, aspect: float = 2.0, moving: bool = True) -> str:
    """A sentence about the scene on canvases with that width ÷ height; without `moving`, about a picture of it."""
    first = scene.things[0]
    subject = _name(first, random)
    verb = _pick(MOTION_WORDS[first.motion], random)
    says_motion = moving and (first.motion is not Motion.STILL or random.random() < _RESTING)
    ground = _ground(scene.background, random)
    opening = _pick(_OPENINGS if moving else _PICTURE_OPENINGS, random)
    if opening and says_motion:
        verb = f"that {verb}"
    clause = f"{subject} {verb}" if says_motion else subject
    if len(scene.things) == 2:
        relation = relation_of(scene, aspect)
        other = _name(scene.things[1], random)
        clause += f" {relation} {other}" if random.random() < 0.75 else f", {relation} {other}"
    text = f"{opening}{clause} {ground}" if opening or random.random() < 0.75 else f"{ground}, {clause}"
    if random.random() < 0.3:
        text = text[0].upper() + text[1:]
    return text + ("." if random.random() < 0.3 else "")


def caption_of_reference(background: Background, random: np.random.Generator) -> str:
    """What to say of an object that a reference image shows, for a picture of it on that background."""
    return f"{_pick(_REPEATED, random)} {_ground(background, random)}"


def _name(thing: Thing, random: np.random.Generator) -> str:
    words = [str(thing.colour), _pick(SHAPE_WORDS[thing.shape], random)]
    says_size = random.random() < _SIZED or thing.size is Size.SMALL
    if says_size and thing.motion is not Motion.GROWING:
        words.insert(0, _pick(SIZE_WORDS[thing.size], random))
    return f"a {' '.join(words)}"


def _ground(background: Background, random: np.random.Generator) -> str:
    start = _pick(BACKDROP_WORDS[background.start], random)
    if background.end is None:
        return _pick(_PLAIN, random).format(start)
    return _pick(_GRADED, random).format(start, _pick(BACKDROP_WORDS[background.end], random))


def relation_of(scene: Scene, aspect: float) -> str:
    """The one of `RELATIONS` that holds all the time on canvases with that width ÷ height; else the first."""
    canvas = rough_film(aspect)
    (first, _), (second, _) = (path(thing, canvas) for thing in scene.things)
    offset: Floats = (first - second) / canvas.side
    x, y = offset[:, 0], offset[:, 1]
    if np.all(np.abs(x) > np.abs(y)):
        return "to the left of" if np.all(x < 0) else "to the right of"
    if np.all(np.abs(y) > np.abs(x)):
        return "above" if np.all(y < 0) else "below"
    return RELATIONS[0]


def _pick(choices: Sequence[str], random: np.random.Generator) -> str:
    return choices[int(random.integers(len(choices)))]
