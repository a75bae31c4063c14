"""How the video transformer learns, with connectors and text encoder: flow matching on cached latents.

Single pictures first, then clips at half size, then clips at both sizes. At full size it learns stage 2: to refine what
comes from half size through enlarged latents, from the level at which the pipelines add noise to them. With some
probability the first latents, or keyframes appended as further tokens, are given clean, at timestep 0, as the pipelines
give them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from milimo_runtime.vision_ops import prepare_torchvision
from milimo_video.sigmas import DISTILLED, DISTILLED_STAGE_2
from torch import nn

from milimo_shapes.captions import caption_of
from milimo_shapes.flow import TIMESTEPS, add_noise, draw_levels, velocity
from milimo_shapes.latent_cache import CLIPS, FPS, KEYFRAMES, PAIRS, STILLS, Kind, LatentCache, Shard
from milimo_shapes.prompts import embed_captions

if TYPE_CHECKING:
    from pathlib import Path

# Of clips: how often the first latents are given, how often keyframes, how often neither.
_PREFIXED: Final = 0.3
_KEYFRAMED: Final = 0.15
# Latents that are given: an image, or the overlap of chunks.
_PREFIXES: Final = (1, 1, 4)
_SCHEDULED: Final = 0.7
# How much latents of half size differ when enlarged, in standard deviations: learned against such an error.
_ENLARGED_ERROR: Final = 0.3


def load_tokenizer() -> Any:
    """The tokenizer of the text encoder."""
    prepare_torchvision()
    from milimo_shapes.video_parts import caption_tokenizer

    return caption_tokenizer()


class VideoModel(nn.Module):
    """The parts that learn together."""

    def __init__(self) -> None:
        """With weights from torch's generator as it stands; the audio branch stays as it is."""
        super().__init__()
        prepare_torchvision()
        from milimo_shapes import video_parts

        self.transformer = video_parts.transformer()
        self.connectors = video_parts.connectors()
        self.text_encoder = video_parts.text_encoder()
        for name, parameter in self.named_parameters():
            if "audio" in name or "vision" in name or "av_cross_attn" in name or "multi_modal" in name:
                parameter.requires_grad_(False)


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoTransformer:
    """Trains transformer, connectors and text encoder on the latents in `cache`."""

    cache: LatentCache
    tokenizer: Any
    name: str = "video-transformer"
    steps: int = 12000
    learning_rate: float = 1e-3
    evaluate_every: int = 500

    def build(self) -> nn.Module:
        return VideoModel()

    def losses(self, model: Any, seed: int, step: int, device: torch.device) -> dict[str, torch.Tensor]:
        random = np.random.default_rng((seed, step))
        kind, size, count = self._turn(random, step)
        shard = self.cache.shard(kind, int(random.integers(2**31)))
        chosen = random.choice(len(shard.clips), count, replace=False)
        return self._loss(model, shard, chosen, kind, size, random, device)

    def evaluate(self, model: Any, device: torch.device, pictures: Path) -> dict[str, float]:
        """The losses on the cache's first shard of each kind, with noise that is always the same.

        What the model makes is judged elsewhere, by the pipelines' own sampling.
        """
        figures = {}
        for kind, size in ((STILLS, "half"), (CLIPS, "half"), (PAIRS, "full")):
            if self.cache.size(kind):
                with torch.random.fork_rng():
                    torch.manual_seed(0)
                    losses = self._loss(
                        model, self.cache.shard(kind, 0), np.arange(4), kind, size, np.random.default_rng(0), device
                    )
                figures[f"{kind.name}_{size}"] = float(losses["loss"])
        return figures

    def save(self, model: Any, folder: Path) -> None:
        for name in ("transformer", "connectors", "text_encoder"):
            getattr(model, name).save_pretrained(folder / name)

    def _turn(self, random: np.random.Generator, step: int) -> tuple[Kind, str, int]:
        """What a step learns from: the kind, the size, and how many."""
        progress = step / self.steps
        clips = 0.0 if progress < 0.15 else 0.7
        full = 0.0 if progress < 0.3 else 0.25
        if random.random() >= clips:
            return (STILLS, "half", 16) if random.random() < 0.7 else (STILLS, "full", 8)
        if random.random() < full:
            return PAIRS, "full", 1
        return CLIPS, "half", 4

    def _loss(
        self,
        model: Any,
        shard: Shard,
        chosen: np.ndarray[Any, np.dtype[np.intp]],
        kind: Kind,
        size: str,
        random: np.random.Generator,
        device: torch.device,
    ) -> dict[str, torch.Tensor]:
        moving = kind.frames > 1
        captions = [caption_of(shard.clips[index].scene, random, moving=moving) for index in chosen]
        embeddings, mask = embed_captions(captions, self.tokenizer, model.text_encoder, model.connectors, device)
        clean = shard.latents[size][chosen].to(device)
        count, _, frames, height, width = clean.shape
        is_full = size == "full"
        levels = draw_levels(
            count,
            DISTILLED_STAGE_2 if is_full else DISTILLED,
            scheduled=_SCHEDULED,
            low=0.05,
            high=0.95 if is_full else 1.0,
        ).to(device)
        start = clean
        if is_full:
            start = clean + _ENLARGED_ERROR * torch.randn_like(clean) * torch.rand(count, 1, 1, 1, 1, device=device)
        noisy = add_noise(start, torch.randn_like(clean), levels)
        target = velocity(noisy, clean, levels)
        coords = model.transformer.rope.prepare_video_coords(count, frames, height, width, clean.device, fps=FPS)

        given = torch.zeros(count, frames, height, width, device=device)
        # A clip from the middle of a movement is only ever continued.
        late = moving and any(shard.clips[index].start > 0 for index in chosen)
        fate = random.random()
        tokens, wanted = _tokens(noisy), _tokens(target)
        if late or (moving and fate < _PREFIXED):
            length = _PREFIXES[random.integers(len(_PREFIXES))]
            given[:, :length] = 1.0
            tokens = torch.where(given.flatten(1)[..., None] > 0, _tokens(clean), tokens)
        clear = given.flatten(1)
        if moving and not late and _PREFIXED <= fate < _PREFIXED + _KEYFRAMED:
            for place in random.choice(len(KEYFRAMES), random.integers(1, 3), replace=False):
                keyframe = shard.keyframes[size][chosen][:, :, place : place + 1].to(device)
                tokens = torch.cat([tokens, _tokens(keyframe)], dim=1)
                clear = torch.cat([clear, torch.ones(count, height * width, device=device)], dim=1)
                coords = torch.cat([coords, _keyframe_coords(coords, height * width, KEYFRAMES[place])], dim=2)

        said, _ = model.transformer(
            hidden_states=tokens,
            audio_hidden_states=torch.zeros(count, 1, model.transformer.config.audio_in_channels, device=device),
            encoder_hidden_states=embeddings,
            audio_encoder_hidden_states=embeddings,
            timestep=TIMESTEPS * levels[:, None] * (1.0 - clear),
            audio_timestep=TIMESTEPS * levels,
            sigma=TIMESTEPS * levels,
            encoder_attention_mask=mask,
            audio_encoder_attention_mask=mask,
            num_frames=frames,
            height=height,
            width=width,
            fps=FPS,
            audio_num_frames=1,
            video_coords=coords,
            isolate_modalities=True,
            return_dict=False,
        )
        error = (said[:, : wanted.shape[1]] - wanted).square().mean(dim=-1)
        open_tokens = 1.0 - given.flatten(1)
        loss = (error * open_tokens).sum() / open_tokens.sum().clamp(min=1.0)
        return {"loss": loss, f"{kind.name}_{size}": loss}


def _tokens(latents: torch.Tensor) -> torch.Tensor:
    """[B, C, F, h, w] → [B, F · h · w, C], as the pipelines pack them."""
    return latents.flatten(2).transpose(1, 2)


def _keyframe_coords(coords: torch.Tensor, area: int, frame: int) -> torch.Tensor:
    """Positions of a keyframe's tokens: those of the first latent, for one frame at that time."""
    placed = coords[:, :, :area].clone()
    placed[:, 0, :, 0] = frame / FPS
    placed[:, 0, :, 1] = (frame + 1) / FPS
    return placed
