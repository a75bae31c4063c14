"""Latents of drawn pictures on the disk, so that the image transformer's training need not encode.

FOLDER/KIND-000000.safetensors  a shard: normalised latents "wanted" and, of kinds with an image, "beside",
                                [n, C, rows, columns]

A lesson follows from the cache's seed and its number; its words are chosen anew each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from milimo_image.latents import normalise

from milimo_shapes import shards
from milimo_shapes.lessons import Lesson, draw_lesson
from milimo_shapes.rendering import Canvas, draw

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from milimo_shapes.scene import Scene

SHARD: Final = 64
# How often a lesson of two objects without an image is drawn, compared with others: there are many more to learn from,
# and one object is what is asked for most.
_TWO: Final = 0.3


@dataclass(frozen=True, kw_only=True)
class LessonKind:
    """Lessons for pictures of one size in pixels, with an image beside or without."""

    name: str
    width: int
    height: int
    has_image: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Lessons:
    """Lessons and the latents [n, C, rows, columns] of their pictures and, if they have any, of the images beside."""

    lessons: tuple[Lesson, ...]
    wanted: torch.Tensor
    beside: torch.Tensor | None

    @cached_property
    def chances(self) -> NDArray[np.float64]:
        """How often each is drawn."""
        rare = [lesson.beside is None and len(lesson.wanted.things) > 1 for lesson in self.lessons]
        weights = np.where(rare, _TWO, 1.0)
        return np.asarray(weights / weights.sum())


def lesson_of(seed: int, kind: LessonKind, number: int) -> Lesson:
    """Lesson `number` of that kind of the cache that `seed` makes."""
    random = np.random.default_rng((seed, kind.width, kind.height, int(kind.has_image), number))
    return draw_lesson(random, aspect=kind.width / kind.height, has_image=kind.has_image)


def write_lessons(
    folder: Path, autoencoder: Any, kind: LessonKind, *, seed: int, count: int, seconds: float, device: torch.device
) -> int:
    """Encodes the first `count` lessons of that kind where `folder` lacks them, until the time is over.

    Returns how many there are, all counted. What another autoencoder encoded is removed first.
    """
    shards.open_folder(folder, {"mean": autoencoder.bn.running_mean, "variance": autoencoder.bn.running_var})

    def encode(numbers: range) -> dict[str, torch.Tensor]:
        lessons = [lesson_of(seed, kind, number) for number in numbers]
        tensors = {"wanted": encode_scenes(autoencoder, [lesson.wanted for lesson in lessons], kind, device)}
        if kind.has_image:
            beside = [lesson.beside for lesson in lessons if lesson.beside is not None]
            tensors["beside"] = encode_scenes(autoencoder, beside, kind, device)
        return {name: tensor.to("cpu", torch.float16).contiguous() for name, tensor in tensors.items()}

    return shards.fill(folder, kind.name, encode, seed=seed, count=count, each=SHARD, seconds=seconds)


@torch.no_grad()
def encode_scenes(autoencoder: Any, scenes: Sequence[Scene], kind: LessonKind, device: torch.device) -> torch.Tensor:
    """Normalised latents [B, C, rows, columns] of pictures of the scenes."""
    encoded = []
    for scene in scenes:
        frames = draw(scene, Canvas(width=kind.width, height=kind.height)).frames
        pixels = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        encoded.append(normalise(autoencoder.encode(pixels).latent_dist.mode(), autoencoder))
    return torch.cat(encoded)


class LessonCache:
    """The lessons of a folder, in memory once they were asked for."""

    def __init__(self, folder: Path) -> None:
        """The folder may be empty still."""
        self._folder = folder
        self._loaded: dict[str, Lessons] = {}

    def draw(self, kind: LessonKind, count: int, random: np.random.Generator) -> Lessons:
        """So many different lessons of the kind. Raises `FileNotFoundError` when there are none."""
        if kind.name not in self._loaded:
            self._loaded[kind.name] = self._load(kind)
        whole = self._loaded[kind.name]
        chosen = random.choice(len(whole.lessons), count, replace=False, p=whole.chances)
        return Lessons(
            lessons=tuple(whole.lessons[index] for index in chosen),
            wanted=whole.wanted[chosen].float(),
            beside=None if whole.beside is None else whole.beside[chosen].float(),
        )

    def _load(self, kind: LessonKind) -> Lessons:
        paths = shards.paths_of(self._folder, kind.name)
        if not paths:
            raise FileNotFoundError(f"the cache has no {kind.name}")
        tensors: dict[str, list[torch.Tensor]] = {}
        for path in paths:
            seed, parts = shards.load(path)
            for name, tensor in parts.items():
                tensors.setdefault(name, []).append(tensor)
        whole = {name: torch.cat(each) for name, each in tensors.items()}
        return Lessons(
            lessons=tuple(lesson_of(seed, kind, number) for number in range(len(whole["wanted"]))),
            wanted=whole["wanted"],
            beside=whole.get("beside"),
        )
