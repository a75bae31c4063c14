"""What the command line does. Each command yields the lines that it has to say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from milimo_shapes.autoencoder_training import VideoAutoencoder
from milimo_shapes.image_autoencoder import ImageAutoencoder
from milimo_shapes.judge_error import HARMS, clip_error, picture_error
from milimo_shapes.latent_cache import KINDS, LatentCache, write_cache
from milimo_shapes.still_convolution import speed_up_stills
from milimo_shapes.training import Component, Run, train
from milimo_shapes.upsampler_training import SpatialUpsampler
from milimo_shapes.video_autoencoder import build_video_autoencoder
from milimo_shapes.video_checkpoint import load_part, write_video_checkpoint

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    import torch

COMPONENTS: Final = ("video-autoencoder", "spatial-upsampler", "video-transformer", "image-autoencoder")
__all__ = ["COMPONENTS", "KINDS", "run_assembling", "run_caching", "run_measuring", "run_training"]


def run_training(arguments: Namespace, device: torch.device) -> Iterator[str]:
    """Trains a component for the time given. Raises `SystemExit` when it needs latents and has none."""
    component = _component(arguments)
    run = Run(out=arguments.out, seed=arguments.seed, seconds=60 * arguments.minutes, steps=arguments.steps)
    yield f"{component.name}: {train(component, run, device)} steps done, in {arguments.out}"


def run_caching(arguments: Namespace, device: torch.device) -> Iterator[str]:
    """Encodes clips."""
    autoencoder = build_video_autoencoder()
    load_part(autoencoder, arguments.autoencoder / "vae")
    speed_up_stills(autoencoder)
    there = write_cache(
        arguments.out,
        autoencoder.to(device).eval(),
        KINDS[arguments.kind],
        seed=arguments.seed,
        clips=arguments.clips,
        seconds=60 * arguments.minutes,
        device=device,
    )
    yield f"{arguments.kind}: {there} clips are in {arguments.out}"


def run_assembling(arguments: Namespace, device: torch.device) -> Iterator[str]:
    """Writes the video checkpoint."""
    names = ("video-autoencoder", "spatial-upsampler", "video-transformer")
    write_video_checkpoint(arguments.out / "ltx-2", [arguments.runs / name / "weights" for name in names])
    yield f"wrote {arguments.out / 'ltx-2'}"


def run_measuring(arguments: Namespace, device: torch.device) -> Iterator[str]:
    """Measures the judge: the share that it has right, for each harm, on pictures and on clips."""
    for width, height in ((256, 128), (128, 64), (256, 256)):
        for name, harm in HARMS.items():
            error = picture_error(harm, scenes=arguments.scenes, seed=7, width=width, height=height)
            yield f"picture {width} × {height}, {name}: {error}"
    for name, harm in HARMS.items():
        error = clip_error(harm, scenes=max(1, arguments.scenes // 6), seed=8, width=256, height=128)
        yield f"clip 256 × 128, {name}: {error}"


def _component(arguments: Namespace) -> Component:
    if arguments.component == "video-autoencoder":
        return VideoAutoencoder()
    if arguments.component == "image-autoencoder":
        return ImageAutoencoder()
    if arguments.latents is None:
        raise SystemExit(f"{arguments.component} learns on cached latents: name their folder with --latents")
    cache = LatentCache(arguments.latents)
    if arguments.component == "spatial-upsampler":
        return SpatialUpsampler(cache=cache)
    from milimo_shapes.video_training import VideoTransformer, load_tokenizer

    return VideoTransformer(cache=cache, tokenizer=load_tokenizer())
