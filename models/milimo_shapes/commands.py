"""What the command line does. Each command yields the lines that it has to say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from milimo_shapes.autoencoder_training import VideoAutoencoder
from milimo_shapes.family import write_family
from milimo_shapes.image_autoencoder import ImageAutoencoder, build_image_autoencoder
from milimo_shapes.judge_error import HARMS, clip_error, picture_error
from milimo_shapes.latent_cache import CLIPS, LATER, PAIRS, STILLS, LatentCache, write_cache
from milimo_shapes.lesson_cache import LessonCache, write_lessons
from milimo_shapes.shipped import FAMILY, IMAGE, VIDEO, install
from milimo_shapes.still_convolution import speed_up_stills
from milimo_shapes.trained_parts import load_part
from milimo_shapes.training import Component, Run, train
from milimo_shapes.upsampler_training import SpatialUpsampler, TemporalUpsampler
from milimo_shapes.video_autoencoder import build_video_autoencoder
from milimo_shapes.video_checkpoint import SPATIAL_UPSAMPLER

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator
    from pathlib import Path

    import torch

# By model, in the order in which they can be trained.
COMPONENTS: Final = {
    VIDEO: ("video-autoencoder", "spatial-upsampler", "video-text-encoder", "video-transformer", "temporal-upsampler"),
    IMAGE: ("image-autoencoder", "image-transformer"),
}
# How many clips of each kind a cache has.
_CACHED: Final = {STILLS: 4096, CLIPS: 1536, LATER: 1024, PAIRS: 768}
_LATENTS: Final = "latents"
_LESSONS: Final = "lessons"


def run_training(arguments: Namespace, device: torch.device) -> Iterator[str]:
    """Trains the components of one model in turn, with the cache between them. Goes on with what is there.

    A component that does not reach its steps within the minutes for each is used as it is.
    """
    for name in COMPONENTS[arguments.model]:
        if name in _ENCODED_BEFORE:
            yield from _ENCODED_BEFORE[name](arguments, device)
        component = _component(name, arguments.runs, device)
        run = Run(out=arguments.runs / name, seed=arguments.seed, seconds=60 * arguments.minutes, steps=arguments.steps)
        steps = train(component, run, device)
        yield f"{name}: {steps} of {run.steps or component.steps} steps done, in {run.out}"


def run_assembling(arguments: Namespace, device: torch.device) -> Iterator[str]:
    """Writes the family of what is trained so far."""
    trained = {
        model: [arguments.runs / name / "weights" for name in components] for model, components in COMPONENTS.items()
    }
    for root in write_family(arguments.weights, trained):
        megabytes = sum(path.stat().st_size for path in root.rglob("*.safetensors")) / 1e6
        yield f"wrote {root}: {megabytes:.1f} MB of weights"


def run_installing(arguments: Namespace, device: torch.device) -> Iterator[str]:
    """Puts the shipped family where the services look for it."""
    for name in install(arguments.models):
        yield f"wrote {arguments.models / FAMILY / name}"


def run_evaluation(arguments: Namespace, device: torch.device) -> Iterator[str]:
    """Judges what the family makes, and writes the report."""
    from milimo_shapes.evaluation import evaluate_family

    yield from evaluate_family(arguments.weights, arguments.docs, share=arguments.share)


def run_measuring(arguments: Namespace, device: torch.device) -> Iterator[str]:
    """Measures the judge: the share that it has right, for each harm, on pictures and on clips."""
    for width, height in ((256, 128), (128, 64), (256, 256)):
        for name, harm in HARMS.items():
            error = picture_error(harm, scenes=arguments.scenes, seed=7, width=width, height=height)
            yield f"picture {width} × {height}, {name}: {error}"
    for name, harm in HARMS.items():
        error = clip_error(harm, scenes=max(1, arguments.scenes // 6), seed=8, width=256, height=128)
        yield f"clip 256 × 128, {name}: {error}"


def _fill_cache(arguments: Namespace, device: torch.device) -> Iterator[str]:
    autoencoder = _video_autoencoder(arguments.runs, device)
    for kind, clips in _CACHED.items():
        there = write_cache(
            arguments.runs / _LATENTS,
            autoencoder,
            kind,
            seed=arguments.seed,
            clips=arguments.clips or clips,
            seconds=60 * arguments.minutes,
            device=device,
        )
        yield f"{kind.name}: {there} clips are in {arguments.runs / _LATENTS}"


def _fill_lessons(arguments: Namespace, device: torch.device) -> Iterator[str]:
    from milimo_shapes.image_training import KINDS as LESSON_KINDS

    autoencoder = _image_autoencoder(arguments.runs, device)
    for kind, count in LESSON_KINDS.items():
        there = write_lessons(
            arguments.runs / _LESSONS,
            autoencoder,
            kind,
            seed=arguments.seed,
            count=arguments.clips or count,
            seconds=60 * arguments.minutes,
            device=device,
        )
        yield f"{kind.name}: {there} lessons are in {arguments.runs / _LESSONS}"


# What is encoded before a component can be trained.
_ENCODED_BEFORE: Final = {"spatial-upsampler": _fill_cache, "image-transformer": _fill_lessons}


def _component(name: str, runs: Path, device: torch.device) -> Component:
    if name == "video-autoencoder":
        return VideoAutoencoder()
    if name == "image-autoencoder":
        return ImageAutoencoder()
    if name == "image-transformer":
        return _image_transformer(runs, device)
    cache = LatentCache(runs / _LATENTS)
    if name == "spatial-upsampler":
        return SpatialUpsampler(cache=cache)
    if name == "temporal-upsampler":
        return TemporalUpsampler(cache=cache)
    from milimo_shapes.text_training import VideoTextEncoder, load_tokenizer
    from milimo_shapes.video_training import VideoTransformer

    if name == "video-text-encoder":
        return VideoTextEncoder(tokenizer=load_tokenizer())
    return VideoTransformer(
        cache=cache,
        upsampler=_spatial_upsampler(runs, device),
        text=_video_text(runs, device),
        tokenizer=load_tokenizer(),
    )


def _image_transformer(runs: Path, device: torch.device) -> Component:
    from milimo_shapes.image_training import ImageTransformer, load_tokenizer

    return ImageTransformer(
        autoencoder=_image_autoencoder(runs, device), tokenizer=load_tokenizer(), cache=LessonCache(runs / _LESSONS)
    )


def _video_autoencoder(runs: Path, device: torch.device) -> Any:
    autoencoder: Any = build_video_autoencoder()
    load_part(autoencoder, runs / "video-autoencoder" / "weights" / "vae")
    speed_up_stills(autoencoder)
    return autoencoder.to(device).eval()


def _spatial_upsampler(runs: Path, device: torch.device) -> Any:
    from milimo_shapes.video_parts import spatial_upsampler

    upsampler: Any = spatial_upsampler()
    load_part(upsampler, runs / "spatial-upsampler" / "weights" / SPATIAL_UPSAMPLER)
    return upsampler.to(device).eval()


def _video_text(runs: Path, device: torch.device) -> Any:
    from milimo_shapes.text_training import TextModel

    model: Any = TextModel()
    for name, part in model.named_children():
        load_part(part, runs / "video-text-encoder" / "weights" / name)
    return model.to(device).eval()


def _image_autoencoder(runs: Path, device: torch.device) -> Any:
    autoencoder: Any = build_image_autoencoder()
    load_part(autoencoder, runs / "image-autoencoder" / "weights" / "vae")
    return autoencoder.to(device).eval()
