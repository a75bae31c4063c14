"""Reference videos that an IC-LoRA reads: tokens of their own behind those of the video, clean, in stage 1 only.

An IC-LoRA may have been trained with references that are smaller than its results, or have fewer frames. Its file says
by how much; references are made so, and stand at the places of the frames and pixels that they show.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from milimo_video.reference_size import reference_frames

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from milimo_video.chunk import Chunk
    from milimo_video.material import Material
    from milimo_video.request import VideoRequest


@dataclass(frozen=True, kw_only=True)
class ReferenceVideo:
    """A condition of `continuing_pipeline`: frames, RGB bytes [n, height, width, 3], that a LoRA reads.

    `frame`: the pixel frame of the chunk at which they begin. `strength`: 1 shows them clean, 0 as noisy as the video.
    """

    frames: NDArray[np.uint8]
    frame: int
    strength: float
    downscale: int
    temporal_scale: int


def reference_videos(request: VideoRequest, chunk: Chunk, material: Mapping[str, Material]) -> list[ReferenceVideo]:
    """The videos among a chunk's conditions, as references for the request's IC-LoRA, or without one as they are."""
    downscale, temporal_scale = request.reference_scales
    references = []
    for placed in chunk.conditions:
        condition = request.conditions[placed.index]
        given = material[placed.key(condition.asset_id)]
        if isinstance(given, Image.Image):
            continue
        references.append(
            ReferenceVideo(
                frames=placed.shown(given)[reference_frames(placed.frames, temporal_scale)],
                frame=placed.frame,
                strength=condition.strength,
                downscale=downscale,
                temporal_scale=temporal_scale,
            )
        )
    return references


def only_images(request: VideoRequest, chunk: Chunk) -> Chunk:
    """The chunk without the videos among its conditions, which are references."""
    images = tuple(placed for placed in chunk.conditions if request.conditions[placed.index].kind == "image")
    return replace(chunk, conditions=images)


def with_references(
    pipeline: Any,
    references: Sequence[ReferenceVideo],
    prepared: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None],
    *,
    width: int,
    height: int,
    fps: float,
    noise_scale: float,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """What `LTX2ConditionPipeline.prepare_latents` returned, with the references' tokens appended.

    These are packed latents, their mask, clean latents [1, tokens, …] and the places of appended tokens [1, 3, tokens,
    2] in seconds and pixels. The places follow the official code's VideoConditionByReferenceLatent.
    """
    latents, mask, clean, places = prepared
    for reference in references:
        encoded = _encode(pipeline, reference, width, height, generator).to(latents.device, latents.dtype)
        tokens = pipeline._pack_latents(
            encoded, pipeline.transformer_spatial_patch_size, pipeline.transformer_temporal_patch_size
        )
        kept = torch.full_like(tokens[..., :1], reference.strength)
        noise = torch.randn(tokens.shape, generator=generator, device=generator.device, dtype=tokens.dtype)
        share = (1.0 - kept) * noise_scale
        noisy = noise.to(tokens.device) * share + tokens * (1.0 - share)
        here = _places(pipeline, encoded, reference, fps)
        latents, mask = torch.cat([latents, noisy], dim=1), torch.cat([mask, kept.to(mask.dtype)], dim=1)
        clean = torch.cat([clean, tokens], dim=1)
        places = here if places is None else torch.cat([places, here], dim=2)
    return latents, mask, clean, places


def _encode(
    pipeline: Any, reference: ReferenceVideo, width: int, height: int, generator: torch.Generator
) -> torch.Tensor:
    """Normalised latents [1, 128, n, h, w] of a reference."""
    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import retrieve_latents

    pixels = pipeline.video_processor.preprocess_video(
        [Image.fromarray(frame) for frame in reference.frames],
        height // reference.downscale,
        width // reference.downscale,
        resize_mode="crop",
    )
    vae = pipeline.vae
    encoded = retrieve_latents(
        vae.encode(pixels.to(device=vae.device, dtype=vae.dtype)), generator=generator, sample_mode="argmax"
    )
    normal = pipeline._normalize_latents(encoded, vae.latents_mean, vae.latents_std)
    assert isinstance(normal, torch.Tensor)
    return normal


def _places(pipeline: Any, encoded: torch.Tensor, reference: ReferenceVideo, fps: float) -> torch.Tensor:
    """Begin and end in seconds, and edges in pixels of the result, of each token: [1, 3, tokens, 2]."""
    _, _, frames, height, width = encoded.shape
    places = pipeline.transformer.rope.prepare_video_coords(
        batch_size=1, num_frames=frames, height=height, width=width, device=encoded.device, fps=fps
    )
    time, scale = places[:, 0], reference.temporal_scale
    if scale != 1:
        # Its last token ends with the video's last; the first, which stands for one frame, stays at the start.
        time = (time * scale - (scale - 1) / fps).clamp(min=0.0)
    places[:, 0] = time + reference.frame / fps
    places[:, 1:] *= reference.downscale
    assert isinstance(places, torch.Tensor)
    return places
