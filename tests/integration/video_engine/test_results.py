"""The files that the engine makes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from milimo_video.decode import Tiling
from milimo_video.parameters import read_parameters
from milimo_video.text import PromptCache
from PIL import Image

from .tiny import SMALL, START, decode_file, frames_of, run

if TYPE_CHECKING:
    from pathlib import Path

    from milimo_video.models import VideoModels
    from milimo_video.request import Condition
    from numpy.typing import NDArray


@pytest.mark.parametrize("conditions", [(), (START,)], ids=["text", "image"])
def test_same_request_gives_the_same_bytes(
    models: VideoModels, tmp_path: Path, conditions: tuple[Condition, ...]
) -> None:
    request = replace(SMALL, conditions=conditions)
    prompts = PromptCache(4)
    first = run(models, request, tmp_path / "first.mp4")
    second = run(models, request, tmp_path / "second.mp4", prompts=prompts)
    cached = run(models, request, tmp_path / "cached.mp4", prompts=prompts)
    other = run(models, replace(request, seed=12), tmp_path / "other.mp4")
    assert len(prompts) == 1
    assert first.path.read_bytes() == second.path.read_bytes() == cached.path.read_bytes()
    assert first.thumbnail_path.read_bytes() == second.thumbnail_path.read_bytes()
    assert first.path.read_bytes() != other.path.read_bytes()


@pytest.mark.parametrize(
    ("width", "height", "frames", "fps"),
    [(128, 64, 17, 25), (2, 2, 2, 24), (70, 66, 10, 30), (130, 62, 28, 60), (64, 64, 121, 50)],
)
def test_result_is_exactly_as_asked(
    models: VideoModels, tmp_path: Path, width: int, height: int, frames: int, fps: int
) -> None:
    request = replace(SMALL, width=width, height=height, num_frames=frames, fps=fps)
    result = run(models, request, tmp_path / "video.mp4")
    assert (result.width, result.height, result.num_frames, result.fps) == (width, height, frames, fps)
    assert decode_file(result.path).shape == (frames, height, width, 3)
    with av.open(str(result.path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert video.average_rate == fps
        assert audio.duration is not None
        assert audio.time_base is not None
        assert float(audio.duration * audio.time_base) == pytest.approx(frames / fps, abs=0.5 / fps)
    data = result.path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with Image.open(result.thumbnail_path) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("JPEG", (max(1, width // 4), max(1, height // 4)))


def test_file_shows_the_frames_that_were_made(models: VideoModels, tmp_path: Path) -> None:
    request = replace(SMALL, width=120, height=60, num_frames=12)
    made, _ = frames_of(models, request)
    shown = decode_file(run(models, request, tmp_path / "video.mp4").path)

    def coarse_luma(frames: NDArray[np.uint8]) -> Any:
        # The tiny model's pictures are noise, of which 4:2:0 keeps little colour: compare brightness of 4 × 4 pixels.
        return frames.mean(axis=3).reshape(12, 15, 4, 30, 4).mean(axis=(2, 4))

    wanted = coarse_luma(made[:12, 2:62, 4:124])
    error = np.abs(coarse_luma(shown) - wanted).mean()
    for wrong in (made[1:13, 2:62, 4:124], made[:12, :60, :120], made[:12, 4:64, 8:128]):
        assert error < np.abs(coarse_luma(shown) - coarse_luma(wrong)).mean() / 2


def test_parameters_are_in_the_file(models: VideoModels, tmp_path: Path) -> None:
    request = replace(SMALL, negative_prompt="Regen ☔", conditions=(START,))
    result = run(models, request, tmp_path / "video.mp4")
    read = read_parameters(result.path)
    assert read is not None
    assert (read.prompt, read.negative_prompt, read.seed) == (request.prompt, "Regen ☔", 11)
    assert read.values == json.loads(result.parameters_json)
    assert read.values["pipeline"] == "ti2vid"
    assert read.values["conditions"] == [{"kind": "image", "frame_index": 0, "strength": 1.0}]
    # Ids differ from project to project, and would change the bytes.
    assert "start" not in result.parameters_json
    assert {"creation_time", "encoder"}.isdisjoint(av.open(str(result.path)).metadata)


def test_tiled_result_has_all_frames(models: VideoModels, tmp_path: Path) -> None:
    request = replace(SMALL, num_frames=118)
    tiling = Tiling(one_pass_pixels=0, side=96, stride=64, frames=32, frame_stride=16)
    result = run(models, request, tmp_path / "video.mp4", tiling=tiling)
    assert len(decode_file(result.path)) == 118
