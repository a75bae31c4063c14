"""Images to start from, and what the engine refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from milimo_runtime.errors import InvalidArgument, Unimplemented
from milimo_runtime.observer import Silent
from milimo_video.engine import make_latents
from milimo_video.plan import plan_video
from milimo_video.request import PipelineOverride, VideoRequest
from milimo_video.text import PromptCache
from PIL import Image

from .tiny import SMALL, START, picture, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from milimo_video.models import VideoModels
    from milimo_video.request import Condition


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


@pytest.fixture
def positions(models: VideoModels) -> Iterator[list[torch.Tensor]]:
    """The coordinates [3, tokens, 2] of the video's tokens in each forward pass: begin and end, time in seconds."""
    seen: list[torch.Tensor] = []
    hook = models.text_to_video.transformer.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["video_coords"][0].clone()), with_kwargs=True
    )
    yield seen
    hook.remove()


@pytest.mark.parametrize("pipeline", [PipelineOverride.TI2VID, PipelineOverride.KEYFRAME])
def test_images_at_frames_are_appended_there_in_both_stages(
    models: VideoModels,
    forwards: list[int],
    positions: list[torch.Tensor],
    tmp_path: Path,
    pipeline: PipelineOverride,
) -> None:
    at = (0, 6, 16)
    conditions = tuple(replace(START, frame_index=frame - 17 if frame == 16 else frame) for frame in at)
    request = replace(SMALL, conditions=conditions, pipeline_override=pipeline)
    run(models, request, tmp_path / "video.mp4")
    # With ti2vid the first one stands in the place of the first latent.
    appended = at if pipeline is PipelineOverride.KEYFRAME else at[1:]
    half, full = 1 * 2, 2 * 4
    assert forwards == [(3 + len(appended)) * half] * 8 + [(3 + len(appended)) * full] * 3
    (chunk,) = plan_video(request, "distilled").chunks
    assert (chunk.stage_1_tokens, chunk.stage_2_tokens) == (forwards[0], forwards[-1])
    for coords, size in zip(positions, [half] * 8 + [full] * 3, strict=True):
        times = coords[0, 3 * size :].view(len(appended), size, 2) * request.fps
        for frame, found in zip(appended, times, strict=True):
            torch.testing.assert_close(found, torch.tensor([frame, frame + 1.0]).expand(size, 2))


def test_every_keyframe_shapes_the_video(models: VideoModels) -> None:
    def made(*conditions: Condition, pipeline: PipelineOverride = PipelineOverride.AUTO) -> torch.Tensor:
        request = replace(SMALL, conditions=conditions, pipeline_override=pipeline)
        plan = plan_video(request, "distilled")
        images = {"start": picture(), "other": picture(seed=1)}
        return make_latents(models, request, plan, images, Silent(), PromptCache(0)).video

    end, other = replace(START, frame_index=13), replace(START, frame_index=13, asset_id="other")
    both = made(START, end)
    assert torch.equal(both, made(START, end))
    for different in (
        made(START, other),
        made(replace(START, asset_id="other"), end),
        made(START, replace(end, frame_index=12)),
        made(START, replace(end, strength=0.3)),
        made(START, end, pipeline=PipelineOverride.TI2VID),
    ):
        assert not torch.equal(both, different)


def test_an_image_is_not_made_here(models: VideoModels, forwards: list[int], tmp_path: Path) -> None:
    with pytest.raises(Unimplemented):
        run(models, replace(SMALL, num_frames=1), tmp_path / "video.mp4")
    assert forwards == []
    assert list(tmp_path.iterdir()) == []
