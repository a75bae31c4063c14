"""Latents of drawn clips on the disk, so that the transformer's training need not encode.

FOLDER/KIND-000000.safetensors  a shard: clips `numbers`, their latents at half and full size, and of single frames;
                                of pairs also those of every second frame at full size

Captions are not kept: a clip's scene follows from the cache's seed and the clip's number, and the words are chosen anew
each time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from milimo_shapes import shards
from milimo_shapes.rendering import Canvas, draw
from milimo_shapes.sampling import random_scene, stage_scene, vary
from milimo_shapes.scene import Motion, Size
from milimo_shapes.stage import stage_pace

if TYPE_CHECKING:
    from pathlib import Path

    from milimo_shapes.scene import Scene

WIDTH: Final = 256
HEIGHT: Final = 128
FPS: Final = 25.0
FRAMES: Final = 121
# Frames of a clip of which every second one is encoded: both lengths are on the grid of 8k + 1.
_SLOW_FRAMES: Final = 113
# Frames of a clip that are encoded alone as well, to be keyframes.
KEYFRAMES: Final = (0, 40, 80, 120)
# The part of clips of the kinds that may begin late that do not.
_FROM_START: Final = 0.6
_LATEST_START: Final = 7.5
_SHARD: Final = 16
# How often small objects that move, and those that move sideways, which is fastest, are drawn, compared with others:
# they keep their shape least.
_SMALL_AND_MOVING: Final = 3.0
_SMALL_AND_FAST: Final = 6.0
_FAST: Final = (Motion.LEFT, Motion.RIGHT)
TWINS: Final = 2


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of shard: how many frames, whether at full size too, and what clips show.

    Staged clips begin with their movement, where it always begins: words are enough to make one. Others begin anywhere,
    at any time, and can only be continued. In groups of two, twins, the second differs from the first in one fact.
    `stream` tells the kind's random numbers from other kinds'.
    """

    name: str
    stream: int
    frames: int
    has_full: bool
    is_staged: bool
    group: int


STILLS: Final = Kind(name="stills", stream=5, frames=1, has_full=True, is_staged=True, group=TWINS)
CLIPS: Final = Kind(name="clips", stream=6, frames=FRAMES, has_full=False, is_staged=True, group=TWINS)
LATER: Final = Kind(name="later", stream=0, frames=FRAMES, has_full=False, is_staged=False, group=1)
PAIRS: Final = Kind(name="pairs", stream=7, frames=FRAMES, has_full=True, is_staged=False, group=TWINS)
KINDS: Final = (STILLS, CLIPS, LATER, PAIRS)


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What a number stands for: a scene, and the time at which the clip begins."""

    scene: Scene
    start: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Shard:
    """Normalised latents by size ("half", "full"), or "slow": [n, 32, F, h, w]; and of each keyframe.

    `keyframes`: [n, 32, keyframes, h, w]; none for single pictures.
    """

    clips: tuple[Clip, ...]
    latents: dict[str, torch.Tensor]
    keyframes: dict[str, torch.Tensor]


def clip_of(seed: int, kind: Kind, number: int) -> Clip:
    """Clip `number` of that kind of the cache that `seed` makes."""
    group, place = divmod(number, kind.group)
    random = np.random.default_rng((seed, kind.stream, group))
    # Words about a picture tell no movement, and where a staged object begins depends on it.
    motions = tuple(Motion) if kind.frames > 1 else (Motion.STILL,)
    scene = random_scene(random, motions=motions)
    begins = kind.is_staged or random.random() < _FROM_START
    late = float(random.uniform(0.0, _LATEST_START))
    if place > 0:
        # What begins anywhere goes on as it does, whatever words say.
        scene = vary(scene, random, motions=motions if kind.is_staged else ())
    return Clip(scene=stage_scene(scene) if kind.is_staged else _paced(scene), start=0.0 if begins else late)


def write_cache(
    folder: Path,
    autoencoder: Any,
    kind: Kind,
    *,
    seed: int,
    clips: int,
    seconds: float,
    device: torch.device,
) -> int:
    """Encodes the first `clips` of that kind where `folder` lacks them, in shards, until the time is over.

    Returns how many there are, all counted. What another autoencoder encoded is removed first.
    """
    shards.open_folder(folder, {"mean": autoencoder.latents_mean, "std": autoencoder.latents_std})

    def encode(numbers: range) -> dict[str, torch.Tensor]:
        return _encode(autoencoder, kind, seed, numbers, device)

    return shards.fill(folder, kind.name, encode, seed=seed, count=clips, each=_SHARD, seconds=seconds)


class LatentCache:
    """The shards of a folder."""

    def __init__(self, folder: Path) -> None:
        """Raises `FileNotFoundError` when there is no cache."""
        statistics = shards.load_statistics(folder)
        self.mean, self.std = statistics["mean"], statistics["std"]
        self._paths = {kind.name: shards.paths_of(folder, kind.name) for kind in KINDS}

    def size(self, kind: Kind) -> int:
        """Number of shards of that kind."""
        return len(self._paths[kind.name])

    def shard(self, kind: Kind, index: int) -> Shard:
        """A shard of that kind, normalised as the transformer sees latents. `index` counts around.

        Raises `FileNotFoundError` when there are none.
        """
        paths = self._paths[kind.name]
        if not paths:
            raise FileNotFoundError(f"the cache has no {kind.name}")
        seed, tensors = shards.load(paths[index % len(paths)])
        numbers = tensors.pop("numbers").tolist()
        normal = {name: self.normalise(tensor.float()) for name, tensor in tensors.items()}
        return Shard(
            clips=tuple(clip_of(seed, kind, number) for number in numbers),
            latents={name: tensor for name, tensor in normal.items() if not name.startswith("key_")},
            keyframes={name.removeprefix("key_"): tensor for name, tensor in normal.items() if name.startswith("key_")},
        )

    def draw(self, kind: Kind, size: str, count: int, random: np.random.Generator) -> Shard:
        """So many different clips of the kind, out of as few shards as hold them: at one size, and at half size.

        Twins stand one after the other. Raises as `shard`.
        """
        drawn = [self.shard(kind, index) for index in random.permutation(self.size(kind))[: -(-count // _SHARD)]]
        clips = [clip for shard in drawn for clip in shard.clips]
        chances = np.array([_chance(clip) for clip in clips[:: kind.group]])
        groups = random.choice(
            len(chances), min(count, len(clips)) // kind.group, replace=False, p=chances / chances.sum()
        )
        chosen = (groups[:, None] * kind.group + np.arange(kind.group)).ravel()

        def gather(pieces: list[torch.Tensor]) -> torch.Tensor:
            return torch.cat(pieces)[chosen]

        return Shard(
            clips=tuple(clips[index] for index in chosen),
            latents={name: gather([shard.latents[name] for shard in drawn]) for name in {size, "half"}},
            keyframes={size: gather([shard.keyframes[size] for shard in drawn])} if kind.frames > 1 else {},
        )

    def restore(self, latents: torch.Tensor) -> torch.Tensor:
        """Normalised latents [n, 32, F, h, w] as the encoder gave them."""
        return latents * self.std.view(1, -1, 1, 1, 1) + self.mean.view(1, -1, 1, 1, 1)

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents as the encoder gives them, as the transformer sees them."""
        return (latents - self.mean.view(1, -1, 1, 1, 1)) / self.std.view(1, -1, 1, 1, 1)


def _paced(scene: Scene) -> Scene:
    """The scene with its objects at their staged pace: no first frame tells another, and what is unknown is blurred."""
    return replace(scene, things=tuple(map(stage_pace, scene.things)))


def _chance(clip: Clip) -> float:
    """How often a clip is drawn, compared with others."""
    thing = clip.scene.things[0]
    if thing.size is not Size.SMALL or thing.motion is Motion.STILL:
        return 1.0
    return _SMALL_AND_FAST if thing.motion in _FAST else _SMALL_AND_MOVING


def _pixels(scene: Scene, canvas: Canvas, device: torch.device) -> torch.Tensor:
    """The scene drawn, [1, 3, T, H, W], from −1 to 1."""
    frames = torch.from_numpy(draw(scene, canvas).frames).to(device)
    return frames.permute(3, 0, 1, 2)[None].float() / 127.5 - 1.0


@torch.no_grad()
def _encode(autoencoder: Any, kind: Kind, seed: int, numbers: range, device: torch.device) -> dict[str, torch.Tensor]:
    collected: dict[str, list[torch.Tensor]] = {}
    for number in numbers:
        clip = clip_of(seed, kind, number)
        for size, divisor in (("half", 2), ("full", 1)) if kind.has_full else (("half", 2),):
            canvas = Canvas(
                width=WIDTH // divisor, height=HEIGHT // divisor, frames=kind.frames, fps=FPS, start=clip.start
            )
            pixels = _pixels(clip.scene, canvas, device)
            latents = autoencoder.encode(pixels).latent_dist.mode()[0]
            collected.setdefault(size, []).append(latents)
            if kind.frames > 1:
                alone = pixels[0, :, list(KEYFRAMES)].transpose(0, 1)[:, :, None]
                single = autoencoder.encode(alone).latent_dist.mode()[:, :, 0]
                # [keyframes, C, h, w] → [C, keyframes, h, w], like latents.
                collected.setdefault(f"key_{size}", []).append(single.transpose(0, 1))
                if size == "full":
                    slow = pixels[:, :, :_SLOW_FRAMES:2]
                    collected.setdefault("slow", []).append(autoencoder.encode(slow).latent_dist.mode()[0])
    tensors = {name: torch.stack(each).to("cpu", torch.float16).contiguous() for name, each in collected.items()}
    return {**tensors, "numbers": torch.tensor(list(numbers))}
