"""How often the judge errs: on drawn scenes, whose truth is known, after the harm that videos suffer."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import av
import numpy as np

from milimo_shapes.judge import look
from milimo_shapes.rendering import Canvas, draw
from milimo_shapes.sampling import random_scene
from milimo_shapes.scene import Motion
from milimo_shapes.watching import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from milimo_shapes.arrays import Bytes, Floats
    from milimo_shapes.rendering import Clip
    from milimo_shapes.scene import Scene

    Harm = Callable[[Bytes, np.random.Generator], Bytes]

_BLUR_RADIUS: Final = 4


@dataclass(frozen=True, kw_only=True)
class Error:
    """Shares of objects that were judged right, each 0 to 1, and the mean distance of the centres in pixels."""

    objects: int
    counted: float
    colour: float
    shape: float
    size: float
    # None for single pictures.
    motion: float | None
    distance: float


def blur(pictures: Bytes, sigma: float) -> Floats:
    """Pictures [T, H, W, 3] after a Gaussian of that standard deviation in pixels."""
    offsets = np.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    blurred = pictures.astype(np.float64)
    for axis in (1, 2):
        room = [(_BLUR_RADIUS, _BLUR_RADIUS) if each == axis else (0, 0) for each in range(4)]
        padded = np.pad(blurred, room, mode="edge")
        length = blurred.shape[axis]
        blurred = sum(
            (weight * padded.take(np.arange(start, start + length), axis) for start, weight in enumerate(kernel)),
            start=np.zeros_like(blurred),
        )
    return blurred


def blurred_and_noisy(pictures: Bytes, random: np.random.Generator) -> Bytes:
    """A blur of one pixel and noise of 6 of 255."""
    noisy = blur(pictures, 1.0) + random.normal(0.0, 6.0, pictures.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def compressed(pictures: Bytes, random: np.random.Generator) -> Bytes:
    """A slight blur, then H.264 at CRF 33, in which images reach the model."""
    del random
    soft = np.clip(np.rint(blur(pictures, 0.6)), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "33", "preset": "veryfast", "threads": "1"})
        stream.height, stream.width = soft.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in soft:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as written:
        return np.stack([frame.to_ndarray(format="rgb24").astype(np.uint8) for frame in written.decode(video=0)])


HARMS: Final[Mapping[str, Harm]] = {
    "none": lambda pictures, random: pictures,
    "blur and noise": blurred_and_noisy,
    "H.264, CRF 33": compressed,
}


def picture_error(harm: Harm, *, scenes: int, seed: int, width: int, height: int) -> Error:
    """The judge's error on single pictures of that size."""
    random = np.random.default_rng(seed)
    tally = _Tally()
    for _ in range(scenes):
        scene = random_scene(random, aspect=width / height)
        clip = draw(scene, Canvas(width=width, height=height, start=float(random.uniform(0.0, 4.5))))
        tally.add_picture(scene, clip, harm(clip.frames, random)[0])
    return tally.error()


def clip_error(harm: Harm, *, scenes: int, seed: int, width: int, height: int, every: int = 4) -> Error:
    """The judge's error on clips of 121 frames at 25 frames a second, of which it sees one in `every`."""
    random = np.random.default_rng(seed)
    tally = _Tally()
    for _ in range(scenes):
        scene = random_scene(random, aspect=width / height)
        clip = draw(scene, Canvas(width=width, height=height, frames=121))
        tally.add_clip(scene, clip, harm(clip.frames, random)[::every])
    return tally.error()


class _Tally:
    """Counts what was right."""

    def __init__(self) -> None:
        self._objects = self._sized = 0
        self._right = dict.fromkeys(("counted", "colour", "shape", "size", "motion"), 0)
        self._has_motion = False
        self._distances: list[float] = []

    def add_picture(self, scene: Scene, clip: Clip, picture: Bytes) -> None:
        seen = look(picture)
        side = min(picture.shape[:2])
        for index, thing in enumerate(scene.things):
            self._objects += 1
            self._right["counted"] += len(seen) == len(scene.things)
            found = next((each for each in seen if each.colour is thing.colour), None)
            # What grows is neither small nor large on its way.
            self._sized += thing.motion is not Motion.GROWING
            if found is None:
                continue
            self._right["colour"] += 1
            self._right["shape"] += found.shape is thing.shape
            self._right["size"] += thing.motion is not Motion.GROWING and found.size is thing.size
            x, y = _centre_of_area(clip, index)
            self._distances.append(float(np.hypot(found.x * side - x, found.y * side - y)))

    def add_clip(self, scene: Scene, clip: Clip, pictures: Bytes) -> None:
        tracks = watch(list(pictures))
        side = min(pictures.shape[1:3])
        self._has_motion = True
        for index, thing in enumerate(scene.things):
            self._objects += 1
            self._sized += 1
            self._right["counted"] += len(tracks) == len(scene.things)
            found = next((each for each in tracks if each.colour is thing.colour), None)
            if found is None:
                continue
            self._right["colour"] += 1
            self._right["shape"] += found.shape is thing.shape
            self._right["size"] += found.size is thing.size
            self._right["motion"] += found.motion is thing.motion
            x, y = _centre_of_area(clip, index)
            self._distances.append(float(np.hypot(found.x[0] * side - x, found.y[0] * side - y)))

    def error(self) -> Error:
        share = {name: right / self._objects for name, right in self._right.items() if name != "size"}
        return Error(
            objects=self._objects,
            counted=share["counted"],
            colour=share["colour"],
            shape=share["shape"],
            size=self._right["size"] / self._sized,
            motion=share["motion"] if self._has_motion else None,
            distance=float(np.mean(self._distances)),
        )


def _centre_of_area(clip: Clip, index: int) -> tuple[float, float]:
    """Of an object in the first frame, in pixels."""
    cover = clip.coverage[index, 0]
    rows, columns = np.indices(cover.shape)
    total = cover.sum()
    return float((cover * (columns + 0.5)).sum() / total), float((cover * (rows + 0.5)).sum() / total)
