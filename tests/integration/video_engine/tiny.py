"""A tiny checkpoint, requests that it can do, and one who watches the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import av
import numpy as np
from milimo_runtime.observer import JobCancelled, Observer, Silent
from milimo_video.decode import Tiling, decode_audio, decode_video
from milimo_video.engine import generate, make_latents
from milimo_video.plan import plan_video
from milimo_video.request import Condition, VideoRequest
from milimo_video.text import PromptCache
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from milimo_video.models import VideoModels
    from milimo_video.result import VideoResult
    from numpy.typing import NDArray


SMALL = VideoRequest(prompt="a red ball rolls over the grass", seed=11, width=128, height=64, num_frames=17)
START = Condition(asset_id="start", kind="image")
CLIP = Condition(asset_id="clip", kind="video", frames=9)


@dataclass
class Recorder(Silent):
    """Writes down what the engine reports, and cancels after a number of steps."""

    cancel_after: int | None = None
    stages: list[tuple[str, int]] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    previews: list[Image.Image] = field(default_factory=list)
    notices: list[tuple[str, str]] = field(default_factory=list)

    def begin(self, stage: str, steps: int) -> None:
        self.stages.append((stage, steps))
        self.done.append(0)

    def advance(self, steps: int = 1) -> None:
        self.done[-1] += steps
        if self.cancel_after is not None and sum(self.done) >= self.cancel_after:
            raise JobCancelled

    def notice(self, code: str, text: str) -> None:
        self.notices.append((code, text))

    def preview(self, render: Callable[[], Image.Image]) -> None:
        self.previews.append(render())


def picture(seed: int = 0, size: tuple[int, int] = (160, 90)) -> Image.Image:
    """A smooth colourful image."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def moving(frames: int, width: int = 128, height: int = 64) -> NDArray[np.uint8]:
    """A picture that moves: each frame differs from all others."""
    wide = np.asarray(picture(size=(width + frames, height)))
    return np.stack([wide[:, i : i + width] for i in range(frames)])


def run(
    models: VideoModels,
    request: VideoRequest,
    path: Path,
    *,
    observer: Observer | None = None,
    prompts: PromptCache | None = None,
    tiling: Tiling | None = None,
) -> VideoResult:
    return generate(
        models,
        request,
        plan_video(request, "distilled"),
        {"start": picture()},
        observer or Silent(),
        path,
        prompts=PromptCache(0) if prompts is None else prompts,
        tiling=tiling or Tiling(),
    )


def frames_of(models: VideoModels, request: VideoRequest) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """What the engine would encode: frames at the model's size, and sound."""
    plan = plan_video(request, "distilled")
    material = {"start": picture(), "clip": moving(CLIP.frames)}
    latents = make_latents(models, request, plan, material, Silent(), PromptCache(0))
    frames = np.concatenate(list(decode_video(models, latents.video, Tiling())))
    return frames, decode_audio(models, latents.audio, plan.audio_samples)


def decode_file(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
