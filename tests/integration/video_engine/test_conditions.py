"""Images to start from, and what the engine refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from milimo_runtime.errors import InvalidArgument, Unimplemented
from milimo_runtime.observer import Silent
from milimo_video.engine import make_latents
from milimo_video.plan import plan_video
from milimo_video.request import Lora, PipelineOverride, VideoRequest
from milimo_video.text import PromptCache
from PIL import Image

from .tiny import SMALL, START, picture, run

if TYPE_CHECKING:
    from pathlib import Path

    from milimo_video.models import VideoModels


def test_start_image_replaces_the_first_latent(models: VideoModels) -> None:
    def first_latent(request: VideoRequest, image: Image.Image) -> torch.Tensor:
        plan = plan_video(request, "distilled")
        return make_latents(models, request, plan, {"start": image}, Silent(), PromptCache(0)).video[:, :, 0]

    kept = first_latent(replace(SMALL, conditions=(START,)), picture())
    weak = first_latent(replace(SMALL, conditions=(replace(START, strength=0.3),)), picture())
    other_seed = first_latent(replace(SMALL, seed=99, conditions=(START,)), picture())
    other_image = first_latent(replace(SMALL, conditions=(START,)), picture(seed=1))
    free = first_latent(SMALL, picture())
    torch.testing.assert_close(kept, other_seed, rtol=1e-4, atol=1e-4)
    assert (kept - other_image).abs().mean() > 100 * (kept - other_seed).abs().mean()
    assert 0.01 < (weak - kept).abs().mean() < (free - kept).abs().mean()


def test_image_is_oriented_and_compressed_before_it_is_encoded(models: VideoModels, tmp_path: Path) -> None:
    upright = picture(size=(128, 64))
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    request = replace(SMALL, conditions=(START,))
    plan = plan_video(request, "distilled")
    with Image.open(tmp_path / "turned.png") as image:
        assert image.size == (64, 128)
        seen = make_latents(models, request, plan, {"start": image}, Silent(), PromptCache(0))
    wanted = make_latents(models, request, plan, {"start": upright}, Silent(), PromptCache(0))
    assert torch.equal(seen.video, wanted.video)


def test_image_without_pixels_to_encode_is_refused(models: VideoModels) -> None:
    request = replace(SMALL, conditions=(START,))
    plan = plan_video(request, "distilled")
    with pytest.raises(InvalidArgument, match=r"conditions\[0\]"):
        make_latents(models, request, plan, {"start": Image.new("RGB", (1, 40))}, Silent(), PromptCache(0))


@pytest.mark.parametrize(
    "changes",
    [
        {"num_frames": 122},
        {"num_frames": 1},
        {"conditions": (replace(START, frame_index=8),)},
        {"conditions": (START, replace(START, frame_index=-1))},
        {"conditions": (replace(START, kind="video"),)},
        {"conditions": (START,), "pipeline_override": PipelineOverride.KEYFRAME},
        {"loras": (Lora(name="style"),)},
    ],
)
def test_what_is_planned_only_is_refused(
    models: VideoModels, forwards: list[int], tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(Unimplemented):
        run(models, replace(SMALL, **changes), tmp_path / "video.mp4")
    assert forwards == []
    assert list(tmp_path.iterdir()) == []
