"""The shapes family before any training: it loads and runs as the services run it, and is silent."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from milimo_image.models import ImageModels, load_image_models
from milimo_image.prompts import embed_prompt, prompt_cache
from milimo_runtime.device import device_plan
from milimo_runtime.observer import Silent
from milimo_runtime.registry import Registry
from milimo_shapes.captions import caption_of
from milimo_shapes.commands import COMPONENTS, run_assembling, run_training
from milimo_shapes.image_prompts import embed_captions as image_words
from milimo_shapes.image_training import predict
from milimo_shapes.image_trials import image_trials
from milimo_shapes.prompts import embed_captions
from milimo_shapes.sampling import scene_of
from milimo_shapes.shipped import FAMILY, IMAGE, VIDEO, WEIGHTS, install, is_current
from milimo_shapes.trained_parts import load_part
from milimo_shapes.video_autoencoder import SPATIAL_COMPRESSION
from milimo_video.decode import Tiling, decode_audio, decode_video
from milimo_video.engine import make_latents
from milimo_video.installed import compression_of, meet
from milimo_video.models import VideoModels, load_models
from milimo_video.plan import plan_video
from milimo_video.request import VideoRequest
from milimo_video.sigmas import DISTILLED, DISTILLED_STAGE_2
from milimo_video.stages import Shot, denoise_full_size, denoise_half_size, upsample_latents
from milimo_video.text import PromptCache, encode_prompt
from safetensors.torch import load_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from PIL.Image import Image

_BUDGET = 40_000_000


class _Watcher(Silent):
    """Writes down the sizes of previews."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def preview(self, render: Callable[[], Image]) -> None:
        self.sizes.append(render().size)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """As a training of no time leaves it."""
    folder = tmp_path_factory.mktemp("shapes")
    arguments = Namespace(
        runs=folder / "runs", weights=folder / "weights", minutes=0.0, seed=0, steps=None, clips=None, model=""
    )
    device = torch.device("cpu")
    for model, components in COMPONENTS.items():
        arguments.model = model
        said = list(run_training(arguments, device))
        assert [line.split(":")[0] for line in said if " steps done" in line] == list(components)
    assert len(list(run_assembling(arguments, device))) == len(COMPONENTS)
    assert not is_current(folder / "models", arguments.weights)
    assert install(folder / "models", arguments.weights) == ["ltx-2", "flux-2", "sam-3"]
    return Registry(folder / "models", FAMILY)


@pytest.fixture(scope="module")
def models(family: Registry) -> VideoModels:
    root = family.require(VIDEO).root
    return load_models(root, name="shapes", checkpoint="distilled", devices=device_plan("cpu"))


@pytest.fixture(scope="module")
def images(family: Registry) -> ImageModels:
    return load_image_models(family.require(IMAGE).root, device_plan("cpu"))


def test_what_was_trained_is_in_the_checkpoint(family: Registry) -> None:
    runs = family.root.parent.parent / "runs"
    for name, part, model in (
        ("video-autoencoder", "vae", VIDEO),
        ("temporal-upsampler", "temporal_upsampler", VIDEO),
        ("video-text-encoder", "connectors", VIDEO),
        ("video-transformer", "transformer", VIDEO),
        ("image-transformer", "text_encoder", IMAGE),
    ):
        file = next((runs / name / "weights" / part).glob("*.safetensors"))
        trained, stored = load_file(file), load_file(family.model(model).root / part / file.name)
        assert trained.keys() == stored.keys()
        assert all(torch.equal(tensor.half(), stored[key]) for key, tensor in trained.items())


def test_what_is_installed_is_replaced_when_it_is_damaged_or_of_other_weights(family: Registry) -> None:
    models, weights = family.root.parent, family.root.parent.parent / "weights"
    assert is_current(models, weights)
    assert install(models, weights) == []
    (file,) = family.model(IMAGE).root.glob("vae/*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    assert not is_current(models, weights)
    assert install(models, weights) == [IMAGE]
    assert file.read_bytes() == whole
    manifest = family.model(VIDEO).root / "model.toml"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('name = "float32"', 'name = "bf16"'))
    assert install(models, weights) == [VIDEO]
    assert is_current(models, weights)


def test_the_weights_are_few(family: Registry) -> None:
    weights = family.root.parent.parent / "weights"
    for folder in (weights, WEIGHTS):
        assert 30_000_000 < sum(path.stat().st_size for path in folder.rglob("*.safetensors")) < _BUDGET
    assert [model.manifest.purpose for model in family.models()] == ["image", "video", "segmentation"]


def test_latents_stand_for_so_many_pixels_as_the_autoencoder_says(family: Registry, models: VideoModels) -> None:
    compression = compression_of(family.model(VIDEO))
    assert compression == models.compression == SPATIAL_COMPRESSION
    request = VideoRequest(prompt="a red circle", seed=0, width=128, height=64, num_frames=17, upscale=True)
    plan = plan_video(meet(family.model(VIDEO), request), "distilled", compression=compression)
    chunk = plan.chunks[0]
    assert (chunk.stage_1_tokens, chunk.stage_2_tokens, chunk.temporal_tokens) == (2 * 2 * 4, 2 * 4 * 8, 3 * 4 * 8)
    watched = _Watcher()
    latents = make_latents(models, request, plan, {}, watched, PromptCache(0))
    assert latents.video.shape == (1, 32, 3, 4, 8)
    assert watched.sizes == [(256, 128)] * (8 + 3 + 2)
    for tiling in (Tiling(), Tiling(one_pass_pixels=0, side=64, stride=64)):
        frames = np.concatenate(list(decode_video(models, latents.video, tiling)))
        assert frames.shape == (17, 64, 128, 3)


def test_captions_act_on_images_as_they_do_when_the_service_pads_them(images: ImageModels) -> None:
    captions = ["a red circle on black", "on a gray background, a small yellow star next to a blue square"]
    levels = torch.tensor([0.9, 0.4])
    grid, beside = torch.randn(2, 2, images.transformer.config.in_channels, 2, 3)
    with torch.no_grad():
        words = image_words(captions, images.tokenizer, images.text_encoder, torch.device("cpu"))
        assert words[0].shape[1] < 60
        ours = predict(images.transformer, grid, levels, words, beside)
        for row, caption in enumerate(captions):
            states = embed_prompt(images, caption, prompt_cache()).states
            padded = (states, torch.zeros(states.shape[:2]))
            one = slice(row, row + 1)
            theirs = predict(images.transformer, grid[one], levels[one], padded, beside[one])
            torch.testing.assert_close(ours[one], theirs, rtol=1e-3, atol=1e-3)


def test_trials_of_images_run(family: Registry) -> None:
    trials = list(image_trials(family.require(IMAGE).root, 0.0))
    assert [finding.wanted for trial in trials for finding in trial.findings] == [0.95, 0.90, 0.85, 0.85, None]
    assert all(0.0 <= finding.value <= 1.0 for trial in trials for finding in trial.findings)


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
