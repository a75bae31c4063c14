"""The steps from noise to latents: stage 1 at half size, latent upsampling, stage 2, and the temporal stage.

Each is a call of a diffusers pipeline with every argument given that matters to LTX-2.0, since the pipelines' defaults
aim at later versions. Random numbers come from one generator, in the order of the calls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from milimo_video.text import PROMPT_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

    from milimo_video.continuation import LatentTail
    from milimo_video.models import VideoModels
    from milimo_video.reference import ReferenceVideo
    from milimo_video.request import Lora
    from milimo_video.text import EncodedPrompt

    # Takes the number of steps done and the packed, normalised, still noisy video latents.
    StepListener = Callable[[int, torch.Tensor], None]


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """How strongly the model is guided, per modality. A scale of 1 (0 for stg and rescale) switches its part off."""

    scale: float
    audio_scale: float
    stg_scale: float
    modality_scale: float
    rescale: float

    def arguments(self) -> dict[str, Any]:
        """The pipelines' arguments. An audio value of 0 would fall back to the video's, which is the same here."""
        return {
            "guidance_scale": self.scale,
            "stg_scale": self.stg_scale,
            "modality_scale": self.modality_scale,
            "guidance_rescale": self.rescale,
            "audio_guidance_scale": self.audio_scale,
            "audio_stg_scale": self.stg_scale,
            "audio_modality_scale": self.modality_scale,
            "audio_guidance_rescale": self.rescale,
            "spatio_temporal_guidance_blocks": [29],
            "use_cross_timestep": False,
        }


UNGUIDED = Guidance(scale=1.0, audio_scale=1.0, stg_scale=0.0, modality_scale=1.0, rescale=0.0)
# The official values of the dev checkpoint, for stage 1.
DEV_GUIDANCE = Guidance(scale=3.0, audio_scale=7.0, stg_scale=1.0, modality_scale=3.0, rescale=0.7)


def dev_guidance(cfg_scale: float | None) -> Guidance:
    """The guidance of a dev checkpoint, whose video may be guided more or less strongly than the official value."""
    return DEV_GUIDANCE if cfg_scale is None else replace(DEV_GUIDANCE, scale=cfg_scale)


@dataclass(frozen=True, kw_only=True)
class Shot:
    """What both stages of one chunk share. Sizes are the model's: multiples of 64, 8k + 1 frames."""

    width: int
    height: int
    frames: int
    fps: float
    conditioning_fps: float
    prompt: EncodedPrompt
    # Of stage 1 and of stage 2.
    half_conditions: list[LTX2VideoCondition | LatentTail | ReferenceVideo]
    full_conditions: list[LTX2VideoCondition | LatentTail]
    generator: torch.Generator
    # Beside the weights, in both stages; one that reads references works in stage 1 only.
    loras: tuple[Lora, ...] = ()
    # Of a dev checkpoint; None stands for the official value.
    cfg_scale: float | None = None


@dataclass(frozen=True, kw_only=True)
class Latents:
    """Latents as the autoencoders decode them (not normalised).

    `video`: [1, 128, latent frames, height / 32, width / 32]; `audio`: [1, channels, 25 per second, mel bins / 4].
    `half_rate`: the video before its frame rate was doubled, where it was.
    """

    video: torch.Tensor
    audio: torch.Tensor
    half_rate: torch.Tensor | None = None


def denoise_half_size(models: VideoModels, shot: Shot, schedule: tuple[float, ...], on_step: StepListener) -> Latents:
    """Stage 1: from noise to latents of half the width and height, along `schedule`."""
    guidance = UNGUIDED if models.checkpoint == "distilled" else dev_guidance(shot.cfg_scale)
    given = {"conditions": shot.half_conditions} if shot.half_conditions else {}
    with models.adapters.applied(shot.loras):
        return _denoise(models, shot, on_step, guidance, shot.width // 2, shot.height // 2, schedule, given)


@torch.no_grad()
def upsample_latents(models: VideoModels, shot: Shot, latents: Latents) -> torch.Tensor:
    """Video latents of twice the width and height. The upsampler was trained on latents that are not normalised."""
    return _upsample(models.upsample, latents.video, shot.width // 2, shot.height // 2, shot)


@torch.no_grad()
def double_frame_rate(models: VideoModels, shot: Shot, latents: Latents) -> torch.Tensor:
    """Video latents of the same duration: 2 F - 1 of F, likewise not normalised. Raises `ModelMissing`."""
    return _upsample(models.temporal.pipeline(), latents.video, shot.width, shot.height, shot)


def _upsample(pipeline: Any, latents: torch.Tensor, width: int, height: int, shot: Shot) -> torch.Tensor:
    (video,) = pipeline(
        latents=latents,
        latents_normalized=False,
        width=width,
        height=height,
        num_frames=shot.frames,
        generator=shot.generator,
        output_type="latent",
        return_dict=False,
    )
    assert isinstance(video, torch.Tensor)
    return video


def denoise_full_size(
    models: VideoModels,
    shot: Shot,
    upsampled: torch.Tensor,
    audio: torch.Tensor,
    schedule: tuple[float, ...],
    on_step: StepListener,
) -> Latents:
    """Stage 2: adds noise to the upsampled latents and removes it again along `schedule`, without guidance.

    The temporal stage ends likewise, with a shot at the full frame rate.

    The pipeline treats the audio likewise, so that the video can follow it; the audio that is kept is stage 1's.
    """
    given: dict[str, Any] = {"latents": upsampled, "audio_latents": audio}
    if shot.full_conditions:
        given["conditions"] = shot.full_conditions
    with models.adapters.applied([lora for lora in shot.loras if not lora.in_context], distilled=True):
        refined = _denoise(models, shot, on_step, UNGUIDED, shot.width, shot.height, schedule, given)
    return Latents(video=refined.video, audio=audio)


def _denoise(
    models: VideoModels,
    shot: Shot,
    on_step: StepListener,
    guidance: Guidance,
    width: int,
    height: int,
    schedule: tuple[float, ...],
    given: dict[str, Any],
) -> Latents:
    def after_step(pipeline: object, step: int, timestep: object, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
        # Cancelling means raising: the pipelines' own interrupt flag would still run to the end.
        on_step(step + 1, tensors["latents"])
        return {}

    device = models.device
    states, mask = shot.prompt.positive.padded(device)
    arguments: dict[str, Any] = {
        "prompt_embeds": states,
        "prompt_attention_mask": mask,
        "width": width,
        "height": height,
        "num_frames": shot.frames,
        "frame_rate": float(shot.fps),
        # The pipelines condition on frame rate ÷ motion speed.
        "motion_speed": shot.fps / shot.conditioning_fps,
        "num_inference_steps": len(schedule),
        "sigmas": list(schedule),
        "noise_scale": schedule[0],
        "generator": shot.generator,
        "output_type": "latent",
        "return_dict": False,
        "callback_on_step_end": after_step,
        "callback_on_step_end_tensor_inputs": ["latents"],
        "max_sequence_length": PROMPT_TOKENS,
        **guidance.arguments(),
        **given,
    }
    if max(guidance.scale, guidance.audio_scale) > 1.0 and shot.prompt.negative is not None:
        negative, negative_mask = shot.prompt.negative.padded(device)
        arguments |= {"negative_prompt_embeds": negative, "negative_prompt_attention_mask": negative_mask}
    pipeline = models.conditioned if "conditions" in given else models.text_to_video
    video, audio = pipeline(**arguments)
    return Latents(video=video, audio=audio)
