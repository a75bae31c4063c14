"""What the image transformer learns from: a picture to make, what is said of it, and what image stands beside.

An image beside shows the object, which the words then do not name, or, as in inpainting, what the picture was before
the object came into it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from milimo_shapes.captions import caption_of, caption_of_reference
from milimo_shapes.places import Choice, open_places, pose
from milimo_shapes.sampling import random_scene
from milimo_shapes.scene import Motion, Scene

if TYPE_CHECKING:
    import numpy as np

# The part of lessons whose words tell of a movement, and whose picture shows how it begins: words of a shot make its
# first picture too.
_MOVING: Final = 0.4


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A picture, and the image beside it, if any, for canvases with that width ÷ height."""

    wanted: Scene
    aspect: float
    # What the words tell of; None when they leave the object to the image beside.
    told: Scene | None
    beside: Scene | None = None

    def choices(self) -> list[Choice]:
        """Where the objects could lie as well; none when an object takes the place of one that the image shows."""
        if self.told is None or self.beside is None:
            return open_places(self.wanted, aspect=self.aspect, told=len(self.wanted.things))
        takes_place = len(self.beside.things) == len(self.wanted.things)
        return [] if takes_place else open_places(self.wanted, aspect=self.aspect, told=1)

    def caption(self, random: np.random.Generator) -> str:
        """The words, chosen anew each time."""
        if self.told is None:
            return caption_of_reference(self.wanted.background, random)
        moving = self.told.things[0].motion is not Motion.STILL
        return caption_of(self.told, random, aspect=self.aspect, moving=moving)


def draw_lesson(random: np.random.Generator, *, aspect: float, has_image: bool) -> Lesson:
    """A lesson for pictures with that width ÷ height. What words alone tell of is posed."""
    if has_image:
        return _reference(random, aspect) if random.random() < 0.5 else _change(random, aspect)
    motions = tuple(Motion) if random.random() < _MOVING else (Motion.STILL,)
    scene = random_scene(random, aspect=aspect, motions=motions, posed=2)
    return Lesson(wanted=scene, aspect=aspect, told=scene)


def _reference(random: np.random.Generator, aspect: float) -> Lesson:
    """The same object at another place on another background."""
    shown, other = (random_scene(random, aspect=aspect, motions=(Motion.STILL,), pairs=0.0) for _ in range(2))
    thing = replace(shown.things[0], across=other.things[0].across, down=other.things[0].down)
    wanted = Scene(things=(pose(thing, aspect=aspect),), background=other.background)
    return Lesson(wanted=wanted, aspect=aspect, told=None, beside=shown)


def _change(random: np.random.Generator, aspect: float) -> Lesson:
    """A posed object comes onto a background, beside another object, or in its place."""
    scene = random_scene(random, aspect=aspect, motions=(Motion.STILL,), pairs=0.6, posed=1)
    new, *others = scene.things
    if not others and random.random() < 0.5:
        before = random_scene(random, aspect=aspect, motions=(Motion.STILL,), pairs=0.0).things[0]
        others = [replace(before, across=new.across, down=new.down)]
    told = Scene(things=(new,), background=scene.background)
    return Lesson(wanted=scene, aspect=aspect, told=told, beside=replace(scene, things=tuple(others)))
