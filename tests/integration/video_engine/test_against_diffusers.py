"""The engine beside the diffusers pipelines called by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from milimo_video.request import PipelineOverride

from .by_hand import by_hand
from .tiny import CLIP, SMALL, START, frames_of, run

if TYPE_CHECKING:
    from pathlib import Path

    from milimo_video.models import VideoModels
    from milimo_video.request import Condition, VideoRequest

TI2VID = PipelineOverride.TI2VID


@pytest.mark.parametrize(
    "request_",
    [
        SMALL,
        replace(SMALL, width=256, height=128, num_frames=121, seed=3),
        replace(SMALL, fps=48, prompt="wide shot, rain", num_frames=33),
        replace(SMALL, conditions=(START,)),
        replace(SMALL, conditions=(replace(START, strength=0.6),)),
        # At frames where diffusers can place them too.
        replace(SMALL, conditions=(START, replace(START, frame_index=9)), pipeline_override=TI2VID),
        replace(SMALL, conditions=(replace(START, frame_index=1), replace(START, frame_index=9, strength=0.7))),
        # A video as what stands there, not as a reference.
        replace(SMALL, num_frames=25, conditions=(replace(CLIP, strength=0.6),), pipeline_override=TI2VID),
        replace(
            SMALL,
            num_frames=25,
            conditions=(START, replace(CLIP, frame_index=14, strength=0.7)),
            pipeline_override=TI2VID,
        ),
        replace(SMALL, upscale=True, fps=50),
        replace(SMALL, upscale=True, num_frames=33, conditions=(replace(START, frame_index=7, strength=0.7),)),
    ],
    ids=[
        "small",
        "121 frames",
        "48 fps",
        "image",
        "weak image",
        "second image",
        "keyframes",
        "weak video",
        "weak video behind an image",
        "doubled",
        "doubled image",
    ],
)
def test_frames_and_sound_equal_those_of_diffusers(root: Path, models: VideoModels, request_: VideoRequest) -> None:
    frames, sound = frames_of(models, request_)
    wanted_frames, wanted_sound = by_hand(root, request_)
    assert frames.shape == (request_.num_frames, request_.height, request_.width, 3)
    assert np.array_equal(frames, wanted_frames)
    # The model's sound ends a little early; the rest is silence. With a temporal stage it is cut.
    wanted_sound = wanted_sound[:, : sound.shape[1]]
    heard = wanted_sound.shape[1]
    assert 0 <= sound.shape[1] - heard < 0.05 * models.audio_sample_rate
    assert np.array_equal(sound[:, :heard], wanted_sound)
    assert not sound[:, heard:].any()
    # Not a blank screen, and not silence.
    assert frames.std() > 10
    assert wanted_sound.std() > 0.01


@pytest.mark.parametrize("conditions", [(), (START,)], ids=["text", "image"])
def test_forward_passes(
    models: VideoModels, forwards: list[int], tmp_path: Path, conditions: tuple[Condition, ...]
) -> None:
    run(models, replace(SMALL, conditions=conditions), tmp_path / "video.mp4")
    half, full = 3 * 1 * 2, 3 * 2 * 4
    assert forwards == [half] * 8 + [full] * 3
