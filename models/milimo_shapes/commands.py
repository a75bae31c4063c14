"""What the command line does. Each command yields the lines that it has to say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from milimo_shapes.autoencoder_training import VideoAutoencoder
from milimo_shapes.image_autoencoder import ImageAutoencoder
from milimo_shapes.judge_error import HARMS, clip_error, picture_error
from milimo_shapes.latent_cache import CLIPS, KINDS, PAIRS, STILLS, LatentCache, write_cache
from milimo_shapes.still_convolution import speed_up_stills
from milimo_shapes.training import Component, Run, train
from milimo_shapes.upsampler_training import SpatialUpsampler
from milimo_shapes.video_autoencoder import build_video_autoencoder
from milimo_shapes.video_checkpoint import load_part, write_video_checkpoint

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator
    from pathlib import Path

    import torch

# In the order in which they can be trained.
VIDEO_COMPONENTS: Final = ("video-autoencoder", "spatial-upsampler", "video-transformer")
COMPONENTS: Final = (*VIDEO_COMPONENTS, "image-autoencoder")
# How many clips of each kind a cache has.
_CACHED: Final = {STILLS.name: 2048, CLIPS.name: 1536, PAIRS.name: 384}
_LATENTS: Final = "latents"
__all__ = ["COMPONENTS", "KINDS", "run_all", "run_assembling", "run_caching", "run_measuring", "run_training"]


def run_training(arguments: Namespace, device: torch.device) -> Iterator[str]:
    """Trains a component for the time given. Raises `SystemExit` when it needs latents and has none."""
    component = _component(arguments.component, arguments.latents)
    run = Run(out=arguments.out, seed=arguments.seed, seconds=60 * arguments.minutes, steps=arguments.steps)
    yield f"{component.name}: {train(component, run, device)} steps done, in {arguments.out}"


def run_caching(arguments: Namespace, device: torch.device) -> Iterator[str]:
    """Encodes clips of one kind."""
    there = _cache(
        arguments.kind,
        arguments.autoencoder,
        arguments.out,
        clips=arguments.clips or _CACHED[arguments.kind],
        seed=arguments.seed,
        minutes=arguments.minutes,
        device=device,
    )
    yield f"{arguments.kind}: {there} clips are in {arguments.out}"


def run_assembling(arguments: Namespace, device: torch.device) -> Iterator[str]:
    """Writes the video checkpoint of what is trained so far."""
    write_video_checkpoint(arguments.out / "ltx-2", [arguments.runs / name / "weights" for name in VIDEO_COMPONENTS])
    yield f"wrote {arguments.out / 'ltx-2'}"


def run_all(arguments: Namespace, device: torch.device) -> Iterator[str]:
    """Trains every component in turn, with the cache between them, and writes the checkpoint.

    Goes on with what is there: what is done already takes no time. A component that does not reach its steps within
    the minutes for each is used as it is.
    """
    runs, latents = arguments.runs, arguments.runs / _LATENTS
    for name in COMPONENTS:
        if name == "spatial-upsampler":
            autoencoder = runs / "video-autoencoder" / "weights"
            for kind, clips in _CACHED.items():
                there = _cache(
                    kind,
                    autoencoder,
                    latents,
                    clips=clips,
                    seed=arguments.seed,
                    minutes=arguments.minutes,
                    device=device,
                )
                yield f"{kind}: {there} clips are in {latents}"
        component = _component(name, latents)
        steps = train(component, Run(out=runs / name, seed=arguments.seed, seconds=60 * arguments.minutes), device)
        yield f"{name}: {steps} of {component.steps} steps done, in {runs / name}"
    yield from run_assembling(arguments, device)


def run_measuring(arguments: Namespace, device: torch.device) -> Iterator[str]:
    """Measures the judge: the share that it has right, for each harm, on pictures and on clips."""
    for width, height in ((256, 128), (128, 64), (256, 256)):
        for name, harm in HARMS.items():
            error = picture_error(harm, scenes=arguments.scenes, seed=7, width=width, height=height)
            yield f"picture {width} × {height}, {name}: {error}"
    for name, harm in HARMS.items():
        error = clip_error(harm, scenes=max(1, arguments.scenes // 6), seed=8, width=256, height=128)
        yield f"clip 256 × 128, {name}: {error}"


def _cache(kind: str, weights: Path, out: Path, *, clips: int, seed: int, minutes: float, device: torch.device) -> int:
    autoencoder = build_video_autoencoder()
    load_part(autoencoder, weights / "vae")
    speed_up_stills(autoencoder)
    return write_cache(
        out,
        autoencoder.to(device).eval(),
        KINDS[kind],
        seed=seed,
        clips=clips,
        seconds=60 * minutes,
        device=device,
    )


def _component(name: str, latents: Path | None) -> Component:
    if name == "video-autoencoder":
        return VideoAutoencoder()
    if name == "image-autoencoder":
        return ImageAutoencoder()
    if latents is None:
        raise SystemExit(f"{name} learns on cached latents: name their folder with --latents")
    cache = LatentCache(latents)
    if name == "spatial-upsampler":
        return SpatialUpsampler(cache=cache)
    from milimo_shapes.video_training import VideoTransformer, load_tokenizer

    return VideoTransformer(cache=cache, tokenizer=load_tokenizer())
