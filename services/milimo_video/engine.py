"""Makes one video: prompt and images in, a finished file out. Runs in the thread that calls it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from milimo_runtime.errors import Unimplemented

from milimo_video import parameters, sigmas, stage_costs
from milimo_video.choice import Pipeline
from milimo_video.conditioning import placed_conditions, tail_conditions
from milimo_video.continuation import match_statistics
from milimo_video.decode import Tiling, decode_audio, decode_video
from milimo_video.encode import AUDIO_FRAME, Mp4Writer, crop_centre
from milimo_video.geometry import audio_samples, latent_frames
from milimo_video.preview import render_preview
from milimo_video.reference import only_images, reference_videos
from milimo_video.result import finished_video
from milimo_video.stages import Shot, denoise_full_size, denoise_half_size, double_frame_rate, upsample_latents
from milimo_video.temporal import at_half_rate
from milimo_video.text import PromptCache, encode_prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition
    from milimo_runtime.observer import Observer
    from PIL import Image

    from milimo_video.chunk import Chunk
    from milimo_video.continuation import HandOff
    from milimo_video.material import Material
    from milimo_video.models import VideoModels
    from milimo_video.plan import VideoPlan
    from milimo_video.request import VideoRequest
    from milimo_video.result import VideoResult
    from milimo_video.stages import Latents


def generate(
    models: VideoModels,
    request: VideoRequest,
    plan: VideoPlan,
    material: Mapping[str, Material],
    observer: Observer,
    out_path: Path,
    *,
    prompts: PromptCache,
    tiling: Tiling,
) -> VideoResult:
    """Makes the video of `plan` (the plan of `request` for this checkpoint) and writes it to `out_path`.

    The plan has one chunk; `milimo_video.chain` makes longer videos.

    `material` holds the request's images and the frames of its videos by `ChunkCondition.key`. The thumbnail stands
    beside the video, with the suffix ".jpg". The same request gives the same bytes on the same machine with the same
    number of torch threads (another number may change the last bits of the sound). `observer` hears of every step and
    may raise `JobCancelled`, which passes through at once; a half-written file is then removed.

    Raises `Unimplemented` for what can be planned but not made yet.
    """
    latents = make_latents(models, request, plan, material, observer, prompts)
    return save_video(models, request, plan, latents, observer, out_path, tiling)


def make_latents(
    models: VideoModels,
    request: VideoRequest,
    plan: VideoPlan,
    material: Mapping[str, Material],
    observer: Observer,
    prompts: PromptCache,
) -> Latents:
    """The first half of `generate`: everything up to decoding. At the model's size, not yet trimmed or cropped."""
    _require_supported(models, request, plan)
    (chunk,) = plan.chunks
    _, latents = denoise_chunk(models, request, plan, chunk, material, None, observer, prompts)
    return latents


def denoise_chunk(
    models: VideoModels,
    request: VideoRequest,
    plan: VideoPlan,
    chunk: Chunk,
    material: Mapping[str, Material],
    before: HandOff | None,
    observer: Observer,
    prompts: PromptCache,
) -> tuple[torch.Tensor, Latents]:
    """Everything up to decoding of one chunk, which goes on from `before`.

    Returns stage 1's video latents, as stage 2 got them, and the finished ones, both not normalised.
    """
    _require_supported(models, request, plan)
    observer.begin(chunk.stage_prefix + stage_costs.ENCODE_TEXT, 1)
    # With a temporal stage, the stages before it make every second frame.
    first, every = (at_half_rate(chunk), 2) if plan.temporal_steps else (chunk, 1)
    references = reference_videos(request, first, material) if plan.pipeline is Pipeline.IC_LORA else []
    conditions = _conditions(request, plan, first, material)
    prompt = encode_prompt(models, chunk.prompt, chunk.negative_prompt, prompts)
    observer.advance()

    shot = Shot(
        width=plan.model_width,
        height=plan.model_height,
        frames=first.span.frames,
        fps=plan.fps / every,
        conditioning_fps=min(plan.conditioning_fps, plan.fps / every),
        prompt=prompt,
        half_conditions=[*tail_conditions(before, "half", every=every), *conditions, *references],
        full_conditions=[*tail_conditions(before, "full", every=every), *conditions],
        # On the CPU, so that the noise does not depend on the device.
        generator=torch.Generator("cpu").manual_seed(chunk.seed),
        loras=request.loras,
        cfg_scale=request.cfg_scale,
    )
    half, latents = _denoise(models, shot, plan, chunk, before, observer)
    if plan.temporal_steps:
        doubled = replace(
            shot,
            frames=chunk.span.frames,
            fps=plan.fps,
            conditioning_fps=plan.conditioning_fps,
            full_conditions=[
                *tail_conditions(before, "doubled"),
                *_conditions(request, plan, chunk, material),
            ],
        )
        latents = _double_frame_rate(models, shot, doubled, chunk, latents, observer)
    return half, latents


def _conditions(
    request: VideoRequest, plan: VideoPlan, chunk: Chunk, material: Mapping[str, Material]
) -> list[LTX2VideoCondition]:
    in_context = plan.pipeline is Pipeline.IC_LORA
    return placed_conditions(
        request,
        only_images(request, chunk) if in_context else chunk,
        material,
        append_first=plan.pipeline is Pipeline.KEYFRAME,
    )


def save_video(
    models: VideoModels,
    request: VideoRequest,
    plan: VideoPlan,
    latents: Latents,
    observer: Observer,
    out_path: Path,
    tiling: Tiling,
) -> VideoResult:
    """The second half of `generate`: decodes and encodes piece by piece, audio along with the frames it goes with."""
    rate = models.audio_sample_rate
    text = parameters.to_json(request, plan, models.name)
    observer.begin(stage_costs.DECODE, plan.num_frames)
    audio = decode_audio(models, latents.audio, audio_samples(plan.num_frames, plan.fps, rate))
    with Mp4Writer(
        out_path,
        width=plan.width,
        height=plan.height,
        fps=plan.fps,
        sample_rate=rate,
        comment=text,
        description=request.prompt,
    ) as writer:
        written = heard = 0
        for frames in decode_video(models, latents.video, tiling):
            wanted = crop_centre(frames[: plan.num_frames - written], plan.width, plan.height)
            if not len(wanted):
                break
            if not written:
                first = wanted[0]
            writer.write_frames(wanted)
            written += len(wanted)
            until = audio.shape[1]
            if written < plan.num_frames:
                until = audio_samples(written, plan.fps, rate) // AUDIO_FRAME * AUDIO_FRAME
            writer.write_audio(audio[:, heard:until])
            heard = until
            observer.advance(len(wanted))
    return finished_video(request, plan, out_path, first, sample_rate=rate, parameters_json=text)


def _require_supported(models: VideoModels, request: VideoRequest, plan: VideoPlan) -> None:
    assert models.checkpoint == plan.checkpoint, "the plan was made for another checkpoint"
    if plan.pipeline is Pipeline.IMAGE:
        raise Unimplemented(f"the {plan.pipeline} pipeline")


def _denoise(
    models: VideoModels, shot: Shot, plan: VideoPlan, chunk: Chunk, before: HandOff | None, observer: Observer
) -> tuple[torch.Tensor, Latents]:
    first = sigmas.DISTILLED if models.checkpoint == "distilled" else sigmas.undistilled(plan.stage_1_steps)
    second = sigmas.DISTILLED_STAGE_2

    observer.begin(chunk.stage_prefix + stage_costs.STAGE_1, len(first))
    half = denoise_half_size(models, shot, first, _step_listener(models, shot, first, observer, 2 * models.compression))

    if before is not None and before.statistics is not None:
        # Here, so that stage 2 smooths what that changes beside the frames that the chunk goes on from.
        half = replace(half, video=match_statistics(half.video, before.statistics))

    observer.begin(chunk.stage_prefix + stage_costs.UPSAMPLE, 1)
    upsampled = upsample_latents(models, shot, half)
    observer.advance()

    observer.begin(chunk.stage_prefix + stage_costs.STAGE_2, len(second))
    refined = denoise_full_size(
        models, shot, upsampled, half.audio, second, _step_listener(models, shot, second, observer, models.compression)
    )
    return half.video, refined


def _double_frame_rate(
    models: VideoModels, shot: Shot, doubled: Shot, chunk: Chunk, latents: Latents, observer: Observer
) -> Latents:
    """The temporal stage: from the latents of `shot` to those of `doubled`, which lasts as long."""
    schedule = sigmas.TEMPORAL_REFINEMENT

    observer.begin(chunk.stage_prefix + stage_costs.UPSAMPLE_TIME, 1)
    video = double_frame_rate(models, shot, latents)
    observer.advance()

    # Of m frames there come 2 m - 1, so that the sound is longer by one of these; decoding cuts it.
    observer.begin(chunk.stage_prefix + stage_costs.REFINE_TIME, len(schedule))
    on_step = _step_listener(models, doubled, schedule, observer, models.compression)
    refined = denoise_full_size(models, doubled, video, latents.audio, schedule, on_step)
    return replace(refined, half_rate=latents.video)


def _step_listener(
    models: VideoModels,
    shot: Shot,
    schedule: tuple[float, ...],
    observer: Observer,
    pixels: int,
) -> Callable[[int, torch.Tensor], None]:
    """Reports steps of a stage in which a side of a latent stands for so many `pixels` of the shot's."""
    levels = (*schedule, 0.0)
    before: torch.Tensor | None = None

    def on_step(done: int, tokens: torch.Tensor) -> None:
        nonlocal before
        observer.advance()
        render = partial(
            _render_step,
            models,
            before,
            tokens,
            sigma_before=levels[done - 1],
            sigma=levels[done],
            frames=latent_frames(shot.frames),
            height=shot.height // pixels,
            width=shot.width // pixels,
        )
        observer.preview(render)
        before = tokens

    return on_step


def _render_step(
    models: VideoModels,
    before: torch.Tensor | None,
    tokens: torch.Tensor,
    *,
    sigma_before: float,
    sigma: float,
    frames: int,
    height: int,
    width: int,
) -> Image.Image:
    """Shows where the step points to, x₀ = x − σ v with v from the step's two ends, not the noise that is left."""
    if before is not None:
        tokens = tokens - (tokens - before) * (sigma / (sigma - sigma_before))
    return render_preview(tokens, frames=frames, height=height, width=width, colours=models.colours)
