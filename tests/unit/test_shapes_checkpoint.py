"""The shapes' LTX-2 before any training: it loads and runs as the service runs it, and is silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from milimo_runtime.device import device_plan
from milimo_shapes.captions import caption_of
from milimo_shapes.prompts import embed_captions
from milimo_shapes.sampling import scene_of
from milimo_shapes.video_checkpoint import load_part, write_video_checkpoint
from milimo_video.decode import decode_audio
from milimo_video.models import VideoModels, load_models
from milimo_video.sigmas import DISTILLED, DISTILLED_STAGE_2
from milimo_video.stages import Shot, denoise_full_size, denoise_half_size, upsample_latents
from milimo_video.text import PromptCache, encode_prompt

if TYPE_CHECKING:
    from pathlib import Path

_BUDGET = 40_000_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shapes") / "ltx-2"
    write_video_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def models(root: Path) -> VideoModels:
    return load_models(root, name="shapes", checkpoint="distilled", devices=device_plan("cpu"))


def test_the_weights_leave_room_for_the_images(root: Path) -> None:
    assert sum(path.stat().st_size for path in root.rglob("*.safetensors")) < 0.65 * _BUDGET


def test_both_stages_run_and_nothing_is_heard(models: VideoModels) -> None:
    prompt = encode_prompt(models, "a red circle moves right", "", PromptCache(0))
    shot = Shot(
        width=128,
        height=64,
        frames=9,
        fps=25,
        conditioning_fps=25,
        prompt=prompt,
        half_conditions=[],
        full_conditions=[],
        generator=torch.Generator().manual_seed(0),
    )
    steps: list[int] = []
    half = denoise_half_size(models, shot, DISTILLED, lambda step, _: steps.append(step))
    assert half.video.shape == (1, 32, 2, 2, 4)
    full = upsample_latents(models, shot, half)
    assert full.shape == (1, 32, 2, 4, 8)
    done = denoise_full_size(models, shot, full, half.audio, DISTILLED_STAGE_2, lambda step, _: steps.append(step))
    assert steps == [*range(1, 9), *range(1, 4)]
    assert torch.isfinite(done.video).all()
    assert not decode_audio(models, done.audio, 8640).any()


def test_sound_does_not_reach_the_picture(models: VideoModels) -> None:
    transformer = models.text_to_video.transformer
    text = torch.randn(1, 4, transformer.config.caption_channels)

    def picture(audio: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            video, heard = transformer(
                hidden_states=torch.ones(1, 8, 32),
                audio_hidden_states=audio,
                encoder_hidden_states=text,
                audio_encoder_hidden_states=text,
                timestep=torch.full((1, 8), 500.0),
                audio_timestep=torch.full((1,), 500.0),
                sigma=torch.full((1,), 500.0),
                num_frames=1,
                height=2,
                width=4,
                fps=25.0,
                audio_num_frames=audio.shape[1],
                return_dict=False,
            )
        assert not heard.any()
        return video

    channels = transformer.config.audio_in_channels
    assert torch.equal(picture(torch.zeros(1, 3, channels)), picture(torch.randn(1, 3, channels)))


def test_captions_act_as_they_do_when_the_pipelines_pad_them(models: VideoModels) -> None:
    random = np.random.default_rng(0)
    captions = [caption_of(scene_of(0, index), random) for index in range(3)]
    pipeline = models.text_to_video
    device = torch.device("cpu")
    with torch.no_grad():
        short, weight = embed_captions(captions, pipeline.tokenizer, pipeline.text_encoder, pipeline.connectors, device)
        assert short.shape[1] < 50
        query = torch.randn(4, short.shape[2])
        for row, caption in enumerate(captions):
            states, mask = encode_prompt(models, caption, "", PromptCache(0)).positive.padded(device)
            padded, _, kept = pipeline.connectors(states, mask, padding_side="left")
            assert bool(kept.all())
            ours = torch.softmax(query @ short[row].T + weight[row], dim=-1) @ short[row]
            torch.testing.assert_close(
                ours, torch.softmax(query @ padded[0].T, dim=-1) @ padded[0], rtol=1e-3, atol=1e-3
            )


def test_words_of_captions_are_tokens_and_the_rest_is_bytes(models: VideoModels) -> None:
    tokenizer = models.text_to_video.tokenizer
    caption = "a small yellow star bounces above a blue square on a gray background"
    assert len(tokenizer(caption).input_ids) == 1 + len(caption.split())
    strange = "Ein Würfel, 立方体!"
    assert tokenizer.decode(tokenizer(strange).input_ids, skip_special_tokens=True) == strange


@pytest.mark.parametrize("name", ["connectors", "text_encoder", "transformer"])
def test_trained_parts_replace_random_ones(tmp_path: Path, models: VideoModels, name: str) -> None:
    from milimo_shapes import video_parts

    part = getattr(video_parts, name)()
    trained = getattr(models.text_to_video, name)
    trained.save_pretrained(tmp_path)
    load_part(part, tmp_path)
    loaded = part.state_dict()
    for key, tensor in trained.state_dict().items():
        assert torch.equal(loaded[key], tensor), key


def test_a_part_that_does_not_fit_is_refused(tmp_path: Path, models: VideoModels) -> None:
    from milimo_shapes import video_parts

    models.text_to_video.connectors.save_pretrained(tmp_path)
    with pytest.raises(RuntimeError):
        load_part(video_parts.spatial_upsampler(), tmp_path)
