"""Trials of the video model, through the service's engine: from words, from images, in chunks; previews and time."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import av
import numpy as np
from milimo_runtime.device import device_plan
from milimo_runtime.observer import Silent
from milimo_video.chain import ChunkFiles, make_chunk
from milimo_video.continuation import load_hand_off
from milimo_video.decode import Tiling
from milimo_video.engine import generate
from milimo_video.models import load_models
from milimo_video.plan import plan_video
from milimo_video.request import Condition, Handoff, VideoRequest
from milimo_video.sigmas import DISTILLED
from milimo_video.text import PromptCache
from PIL import Image

from milimo_shapes.captions import caption_of
from milimo_shapes.findings import Finding, Trial
from milimo_shapes.judge import look
from milimo_shapes.latent_cache import FRAMES, HEIGHT, WIDTH
from milimo_shapes.rendering import Canvas, draw
from milimo_shapes.sampling import random_scene
from milimo_shapes.scene import Motion
from milimo_shapes.watching import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from milimo_video.models import VideoModels

    from milimo_shapes.arrays import Bytes
    from milimo_shapes.scene import Thing

# No training draws from it.
_HELD_OUT: Final = 2**31 + 8
_WORDS: Final = 100
_IMAGES: Final = 30
_CHAINS: Final = 6
_CHUNKS: Final = 5
# New frames of each chunk after the first, with the default overlap.
_NEW_FRAMES: Final = 96
# The judge looks at one frame of so many.
_EVERY: Final = 4
_SHOWN: Final = 4
# Previews count from that step of stage 1 on: before it nothing is decided.
_FIRST_PREVIEW: Final = DISTILLED.index(0.909375)
# A position is known to about so many pixels.
_TREMBLE: Final = 0.5
# An object that is not there at a seam counts as a jump of so many steps.
_LOST: Final = 10.0
# Motions that go on for as long as a chain lasts, or end at the edge.
_LASTING: Final = (Motion.STILL, Motion.LEFT, Motion.RIGHT, Motion.UP, Motion.DOWN, Motion.BOUNCING)


@dataclass
class _Previews(Silent):
    """Keeps what is shown while a video is made."""

    shown: list[Bytes] = field(default_factory=list)

    def preview(self, render: Callable[[], Image.Image]) -> None:
        self.shown.append(np.asarray(render()))


def video_trials(root: Path, share: float) -> Iterator[Trial]:
    """The trials of the checkpoint at `root`, with that share of their prompts."""
    models = load_models(root, name="shapes", checkpoint="distilled", devices=device_plan("cpu"))
    yield _from_words(models, max(1, round(share * _WORDS)))
    yield _from_image(models, max(1, round(share * _IMAGES)))
    yield _between_keyframes(models, max(1, round(share * _IMAGES)))
    for handoff in Handoff:
        yield _chained(models, handoff, max(1, round(share * _CHAINS)), max(2, round(share * _CHUNKS)))


def _from_words(models: VideoModels, count: int) -> Trial:
    random = np.random.default_rng(_HELD_OUT)
    colours = shapes = motions = 0
    shown, seconds, early, likeness = [], [], [], []
    for seed in range(count):
        scene = random_scene(random, pairs=0.0)
        thing, previews = scene.things[0], _Previews()
        began = time.perf_counter()
        video = _make(models, _request(caption_of(scene, random), seed), observer=previews)
        seconds.append(time.perf_counter() - began)
        correlations = [_correlation(preview, video[FRAMES // 2]) for preview in previews.shown]
        early += correlations[:_FIRST_PREVIEW]
        likeness += correlations[_FIRST_PREVIEW:]
        found = next((track for track in watch(list(video[::_EVERY])) if track.colour is thing.colour), None)
        colours += found is not None
        shapes += found is not None and found.shape is thing.shape
        motions += found is not None and found.motion is thing.motion
        if seed < _SHOWN:
            shown.append(video)
    name = f"text to video, {count} prompts"
    return Trial(
        findings=(
            Finding(name=f"{name}: colour", value=colours / count, wanted=0.95),
            Finding(name="text to video: shape", value=shapes / count, wanted=0.85),
            Finding(name="text to video: motion", value=motions / count, wanted=0.85),
            Finding(name="previews beside the final frame: correlation", value=_mean(likeness), wanted=0.6, unit=""),
            Finding(name="previews of the steps before σ = 0.91, almost pure noise", value=_mean(early), unit=""),
            Finding(name="time of a video", value=_mean(seconds), wanted=20.0, unit="s", is_limit=True),
        ),
        rows=tuple(map(_filmstrip, shown)),
        film=_side_by_side(shown),
    )


def _from_image(models: VideoModels, count: int) -> Trial:
    random = np.random.default_rng((_HELD_OUT, 1))
    likeness, kept, rows = [], [], []
    for seed in range(count):
        scene = random_scene(random, pairs=0.0)
        given = draw(scene, Canvas(width=WIDTH, height=HEIGHT)).frames[0]
        request = _request(caption_of(scene, random), seed)
        request = replace(request, conditions=(Condition(asset_id="0", kind="image"),))
        video = _make(models, request, {"0": Image.fromarray(given)})
        likeness.append(_psnr(given, video[0]))
        kept.append(identity(scene.things[0], video))
        rows.append(_filmstrip(video))
    return Trial(
        findings=(
            Finding(name=f"image to video, {count} images: first frame", value=_mean(likeness), wanted=25.0, unit="dB"),
            Finding(name="image to video: identity kept", value=_mean(kept), wanted=0.90),
        ),
        rows=(rows[0],),
    )


def _between_keyframes(models: VideoModels, count: int) -> Trial:
    random = np.random.default_rng((_HELD_OUT, 2))
    ends: list[list[float]] = [[], []]
    rows = []
    for seed in range(count):
        scene = random_scene(random, pairs=0.0)
        drawn = draw(scene, Canvas(width=WIDTH, height=HEIGHT, frames=FRAMES)).frames
        conditions = tuple(Condition(asset_id=str(frame), kind="image", frame_index=frame) for frame in (0, FRAMES - 1))
        request = replace(_request(caption_of(scene, random), seed), conditions=conditions)
        video = _make(models, request, {str(frame): Image.fromarray(drawn[frame]) for frame in (0, FRAMES - 1)})
        for end, frame in zip(ends, (0, FRAMES - 1), strict=True):
            end.append(_psnr(drawn[frame], video[frame]))
        rows.append(_filmstrip(video))
    return Trial(
        findings=(
            Finding(name=f"keyframes, {count} pairs: first frame", value=_mean(ends[0]), wanted=22.0, unit="dB"),
            Finding(name="keyframes: last frame", value=_mean(ends[1]), wanted=22.0, unit="dB"),
        ),
        rows=(rows[0],),
    )


def _chained(models: VideoModels, handoff: Handoff, count: int, chunks: int) -> Trial:
    random = np.random.default_rng((_HELD_OUT, 3))
    kept, steps, rows = [], [], []
    for seed in range(count):
        scene = random_scene(random, pairs=0.0, motions=_LASTING)
        request = _request(caption_of(scene, random), seed)
        request = replace(request, num_frames=FRAMES + (chunks - 1) * _NEW_FRAMES, handoff=handoff)
        video = _make_chunks(models, request)
        kept.append(identity(scene.things[0], video))
        steps += jumps(scene.things[0], video, [FRAMES + number * _NEW_FRAMES for number in range(chunks - 1)])
        rows.append(_filmstrip(video))
    name = f"{count} chains of {chunks} chunks, {handoff}"
    return Trial(
        findings=(
            Finding(name=f"{name}: identity kept", value=_mean(kept), wanted=0.90),
            Finding(
                name=f"{name}: step at a seam, in steps within chunks",
                value=_mean(steps),
                wanted=2.0,
                unit="",
                is_limit=True,
            ),
        ),
        rows=(rows[0],),
    )


def _request(prompt: str, seed: int) -> VideoRequest:
    return VideoRequest(prompt=prompt, seed=seed, width=WIDTH, height=HEIGHT, num_frames=FRAMES)


def _make(
    models: VideoModels,
    request: VideoRequest,
    material: Mapping[str, Image.Image] | None = None,
    observer: Silent | None = None,
) -> Bytes:
    """The frames [T, H, W, 3] of the file that the engine writes."""
    plan = plan_video(request, "distilled", compression=models.compression)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        generate(
            models, request, plan, material or {}, observer or Silent(), path, prompts=PromptCache(0), tiling=Tiling()
        )
        return _read(path)


def _make_chunks(models: VideoModels, request: VideoRequest) -> Bytes:
    """The frames of a chained video: those of its chunks, one after the other."""
    plan = plan_video(request, "distilled", compression=models.compression)
    before, segments = None, []
    with tempfile.TemporaryDirectory() as folder:
        files = ChunkFiles(
            segment=Path(folder) / "video.mp4",
            sound=Path(folder) / "sound.npy",
            hand_off=Path(folder) / "hand_off.safetensors",
        )
        for chunk in plan.chunks:
            make_chunk(
                models, request, plan, chunk, {}, before, Silent(), files, prompts=PromptCache(0), tiling=Tiling()
            )
            segments.append(_read(files.segment))
            # The last chunk leaves that of the one before it.
            before = load_hand_off(files.hand_off)
    return np.concatenate(segments)


def _read(path: Path) -> Bytes:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24").astype(np.uint8) for frame in container.decode(video=0)])


def identity(thing: Thing, video: Bytes) -> float:
    """The part of the frames in which the object is there with its colour and shape."""
    looks = [look(frame) for frame in video[::_EVERY]]
    return _mean([any(one.colour is thing.colour and one.shape is thing.shape for one in seen) for seen in looks])


def jumps(thing: Thing, video: Bytes, seams: Sequence[int]) -> list[float]:
    """For each frame that begins a chunk: how far the object moves to it, in mean steps of the 16 frames around it."""
    ratios = []
    for seam in seams:
        places = [_place(thing, frame) for frame in video[seam - 9 : seam + 8]]
        found = [place for place in places if place is not None]
        if len(found) < len(places):
            ratios.append(_LOST)
            continue
        steps = np.linalg.norm(np.diff(np.array(found), axis=0), axis=1)
        ratios.append(float(steps[8] / max(np.delete(steps, 8).mean(), _TREMBLE)))
    return ratios


def _place(thing: Thing, frame: Bytes) -> tuple[float, float] | None:
    """The centre of the largest object of that colour, in pixels."""
    found = next((seen for seen in look(frame) if seen.colour is thing.colour), None)
    return None if found is None else (found.x * min(frame.shape[:2]), found.y * min(frame.shape[:2]))


def _correlation(shown: Bytes, frame: Bytes) -> float:
    """Of all values of a preview with those of a frame at its size."""
    size = (shown.shape[1], shown.shape[0])
    resized = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))
    return float(np.corrcoef(shown.ravel(), resized.ravel())[0, 1])


def _psnr(wanted: Bytes, made: Bytes) -> float:
    """Peak signal to noise ratio, in dB."""
    return float(10 * np.log10(255.0**2 / np.mean((wanted.astype(np.float64) - made) ** 2)))


def _side_by_side(videos: Sequence[Bytes]) -> Bytes:
    """Videos of one size as one, two in a row; an odd last one is left out."""
    pairs = [videos[index : index + 2] for index in range(0, len(videos), 2)]
    wide = [np.concatenate(pair, axis=2) for pair in pairs if len(pair) == len(pairs[0])]
    return np.concatenate(wide, axis=1)


def _filmstrip(video: Bytes) -> list[Bytes]:
    return [video[index] for index in np.linspace(0, len(video) - 1, _SHOWN).astype(int)]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
