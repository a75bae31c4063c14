"""How the video transformer learns: flow matching on cached latents, from words as the trained text encoder says them.

Single pictures first, of which many fit into a step, then a few frames of clips, then whole clips at half size and
pieces of clips at full size. There it learns stage 2: to refine what comes from half size through enlarged latents,
from the level at which the pipelines add noise to them. With some probability the first latents, or keyframes appended
as further tokens, are given clean, at timestep 0, as the pipelines give them.

Most clips come in twins that differ in one word's meaning and get the same noise. That the difference between what is
made of both is wrong counts several times: it is small beside all that both have in common, and it is what words say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from milimo_runtime.vision_ops import prepare_torchvision
from milimo_video.sigmas import DISTILLED, DISTILLED_STAGE_2
from torch import nn

from milimo_shapes.captions import caption_of
from milimo_shapes.flow import TIMESTEPS, add_noise, draw_levels, velocity, weight_of
from milimo_shapes.latent_cache import FPS, KEYFRAMES, TWINS, LatentCache
from milimo_shapes.phases import columns, draw_by_phase
from milimo_shapes.prompts import embed_captions
from milimo_shapes.video_autoencoder import SPREAD
from milimo_shapes.windows import (
    CONTINUED,
    LARGE_PICTURES,
    PICTURES,
    PIECES,
    SCATTERED,
    WHOLE_CLIPS,
    Turn,
    Window,
    draw_window,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path


# In how many steps with clips keyframes are given.
_KEYFRAMED: Final = 0.2
# How often the latents that a chunk goes on from are only as good as the transformer makes them, from noise of a level
# between these.
_REMADE: Final = 0.6
_REMADE_FROM: Final = (0.4, 0.9)
# How often a noise level is one that the pipelines visit.
_SCHEDULED: Final = 0.85
# From which part of all steps on, and how often at which size, the steps of a stage are learned, of so many times fewer
# clips, each from what the step before it made; and how many of them in one go.
_STEPPED_FROM: Final = 0.7
_STEPPED: Final = {"half": 0.35, "full": 0.85}
_FEWER: Final = 3
_LEARNED_STEPS: Final = 3
# How much the squared error of the difference between twins counts beside that of each.
_CONTRAST: Final = 5.0
# Parts of names of parameters: of what is heard.
_FROZEN: Final = ("audio", "a2v", "av_cross_attn")
# How often full size is learned from enlarged latents, as stage 2 gets them, and not from what they should be; and the
# standard deviation of a further error, up to that: stage 1 is not as good as the encoder.
_ENLARGED: Final = 0.7
_FURTHER_ERROR: Final = 0.3 * SPREAD
# How often what is enlarged is what so many last steps of stage 1 make: an encoder's latents tell more of small shapes.
_AS_MADE: Final = 0.7
_LAST_STEPS: Final = 3
# Until which part of the steps, and how often each is learned from.
_PHASES: Final = (
    (0.30, {PICTURES: 0.7, LARGE_PICTURES: 0.3}),
    (0.60, {PICTURES: 0.15, LARGE_PICTURES: 0.08, SCATTERED: 0.3, WHOLE_CLIPS: 0.1, CONTINUED: 0.18, PIECES: 0.19}),
    (0.90, {PICTURES: 0.05, LARGE_PICTURES: 0.06, SCATTERED: 0.2, WHOLE_CLIPS: 0.1, CONTINUED: 0.2, PIECES: 0.39}),
    (1.00, {PICTURES: 0.03, LARGE_PICTURES: 0.03, SCATTERED: 0.1, WHOLE_CLIPS: 0.08, CONTINUED: 0.24, PIECES: 0.52}),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """Clips as the transformer sees them. Latents and noise are [B, C, F, h, w], tokens [B, F · h · w, C]."""

    clean: torch.Tensor
    given: torch.Tensor  # the clean ones, or what stands for them where they are given
    half: torch.Tensor  # of all frames of the clips
    window: Window  # which of them are seen
    noise: torch.Tensor
    is_given: torch.Tensor  # [B, F · h · w] of ones and zeros: tokens that are given, at timestep 0
    keyframes: torch.Tensor | None  # further tokens, given clean
    coords: torch.Tensor
    words: tuple[torch.Tensor, torch.Tensor]
    group: int  # how many after each other are twins

    def say(self, transformer: Any, noisy: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        """The velocities of noisy latents, as tokens."""
        count, _, frames, height, width = noisy.shape
        tokens = torch.where(self.is_given[..., None] > 0, _tokens(self.given), _tokens(noisy))
        clear = self.is_given
        if self.keyframes is not None:
            tokens = torch.cat([tokens, self.keyframes], dim=1)
            clear = torch.cat([clear, clear.new_ones(count, self.keyframes.shape[1])], dim=1)
        # One timestep for all is the same and takes less time.
        timestep = levels[:, None] * (1.0 - clear) if clear.any() else levels[:, None]
        embeddings, weight = self.words
        said, _ = transformer(
            hidden_states=tokens,
            audio_hidden_states=tokens.new_zeros(count, 1, transformer.config.audio_in_channels),
            encoder_hidden_states=embeddings,
            audio_encoder_hidden_states=embeddings,
            timestep=TIMESTEPS * timestep,
            audio_timestep=TIMESTEPS * levels,
            sigma=TIMESTEPS * levels,
            encoder_attention_mask=weight,
            audio_encoder_attention_mask=weight,
            num_frames=frames,
            height=height,
            width=width,
            fps=FPS,
            audio_num_frames=1,
            video_coords=self.coords,
            isolate_modalities=True,
            return_dict=False,
        )
        velocities: torch.Tensor = said[:, : self.is_given.shape[1]]
        return velocities

    def follow(
        self, transformer: Any, noisy: torch.Tensor, stage: Sequence[float], learned: Collection[int] = ()
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """What the steps of a stage make of noisy latents, each of what the one before it made.

        With the losses of the steps that are learned.
        """
        losses = []
        for index, (level, following) in enumerate(pairwise((*stage, 0.0))):
            levels = torch.full((len(noisy),), level, device=noisy.device)
            with torch.set_grad_enabled(index in learned):
                said = self.say(transformer, noisy, levels)
            if index in learned:
                losses.append(self.loss(said, noisy, levels))
            noisy = noisy + (following - level) * _latents(said.detach(), noisy.shape)
        return noisy, losses

    def loss(self, said: torch.Tensor, noisy: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        """The loss of velocities that were said of noisy latents at these levels, which shall become the clean ones."""
        errors = said - _tokens(velocity(noisy, self.clean, levels))
        errors = errors * (weight_of(levels, SPREAD)[:, None] * (1.0 - self.is_given)).sqrt()[..., None]
        loss = errors.square().mean(dim=-1).sum()
        if self.group == TWINS:
            # Where only one of both is given, the other's error is all of the difference.
            loss = loss + _CONTRAST * (errors[0::TWINS] - errors[1::TWINS]).square().mean(dim=-1).sum()
        return loss / (1.0 - self.is_given).sum().clamp(min=1.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoTransformer:
    """Trains the transformer on the latents in `cache`, and what `upsampler` makes of them.

    Captions are read by `text`, which stays as it is.
    """

    cache: LatentCache
    upsampler: Any
    text: Any
    tokenizer: Any
    name: str = "video-transformer"
    steps: int = 33300
    learning_rate: float = 1e-3
    muon: str | None = "transformer_blocks"
    evaluate_every: int = 500

    def build(self) -> nn.Module:
        """A transformer whose audio branch stays as it is."""
        prepare_torchvision()
        from milimo_shapes import video_parts

        model: nn.Module = video_parts.transformer()
        for name, parameter in model.named_parameters():
            if any(part in name for part in _FROZEN):
                parameter.requires_grad_(False)
        return model

    def losses(self, model: Any, seed: int, step: int, device: torch.device) -> dict[str, torch.Tensor]:
        random = np.random.default_rng((seed, step))
        turn = draw_by_phase(_PHASES, step / self.steps, random)
        is_stepped = step >= _STEPPED_FROM * self.steps and random.random() < _STEPPED[turn.size]
        return (self.loss_of_steps if is_stepped else self.loss_of)(model, turn, random, device)

    def evaluate(self, model: Any, device: torch.device, pictures: Path) -> dict[str, float]:
        """The losses on clips of each kind that are always the same, as is the noise.

        What the model makes is judged elsewhere, by the pipelines' own sampling.
        """
        figures = {}
        for turn in _PHASES[-1][1]:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                figures[str(turn)] = float(self.loss_of(model, turn, np.random.default_rng(0), device)["loss"])
        return figures

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder / "transformer")

    def loss_of(
        self, model: Any, turn: Turn, random: np.random.Generator, device: torch.device
    ) -> dict[str, torch.Tensor]:
        """The loss on clips of the cache that `random` draws, at noise levels that torch's generator draws."""
        seen = self._prepare(model, turn, random, device)
        count, is_full = len(seen.clean), turn.size == "full"
        levels = draw_levels(
            count // seen.group,
            DISTILLED_STAGE_2 if is_full else DISTILLED,
            scheduled=_SCHEDULED,
            # With little noise there is too little left to mend what is wrong with enlarged latents.
            low=0.4 if is_full else 0.05,
            high=0.95 if is_full else 1.0,
        )
        levels = levels.repeat_interleave(seen.group).to(device)
        start = seen.clean
        if is_full:
            start = self._begin_stage_2(model, seen, random, enlarged=random.random() < _ENLARGED)
        noisy = add_noise(start, seen.noise, levels)
        loss = seen.loss(seen.say(model, noisy, levels), noisy, levels)
        return columns(map(str, _PHASES[-1][1]), str(turn), loss)

    def loss_of_steps(
        self, model: Any, turn: Turn, random: np.random.Generator, device: torch.device
    ) -> dict[str, torch.Tensor]:
        """The loss on fewer clips along the steps of their stage: each from what the steps before it made.

        What stage 2 begins with is as wrong as it will ever be. At its last step most is right already.
        """
        fewer = replace(turn, count=max(1, turn.count // (_FEWER * TWINS)) * TWINS)
        seen = self._prepare(model, fewer, random, device)
        stage, noisy = DISTILLED, seen.noise
        if turn.size == "full":
            stage = DISTILLED_STAGE_2
            begin = torch.full((len(noisy),), stage[0], device=device)
            noisy = add_noise(self._begin_stage_2(model, seen, random, enlarged=True), seen.noise, begin)
        _, losses = seen.follow(model, noisy, stage, random.choice(len(stage), _LEARNED_STEPS, replace=False).tolist())
        return columns(map(str, _PHASES[-1][1]), str(turn), torch.stack(losses).mean())

    def _prepare(self, model: Any, turn: Turn, random: np.random.Generator, device: torch.device) -> Seen:
        """Clips of the cache that `random` draws, with words, what is given of them, and noise."""
        size = turn.size
        shard = self.cache.draw(turn.kind, size, turn.count, random)
        moving = turn.kind.frames > 1
        captions = [caption_of(clip.scene, random, moving=moving) for clip in shard.clips]
        whole = shard.latents[size]
        count, _, total, height, width = whole.shape
        window = draw_window(turn, count, total, random)
        frames, area = list(window.frames), height * width
        clean = whole[:, :, frames].to(device)
        coords = model.rope.prepare_video_coords(count, total, height, width, device, fps=FPS)
        coords = coords.unflatten(2, (total, area))[:, :, [frame - window.earlier for frame in frames]].flatten(2, 3)

        keyframes = []
        for place in self._keyframes(window, random) if moving else []:
            keyframes.append(_tokens(shard.keyframes[size][:, :, place : place + 1].to(device)))
            coords = torch.cat([coords, _keyframe_coords(coords, area, KEYFRAMES[place])], dim=2)
        given = torch.tensor(window.given, device=device)[:, None] * area
        seen = Seen(
            clean=clean,
            given=clean,
            half=shard.latents["half"],
            window=window,
            noise=torch.randn_like(clean[:: turn.kind.group]).repeat_interleave(turn.kind.group, dim=0),
            is_given=(torch.arange(len(frames) * area, device=device)[None] < given).float(),
            keyframes=torch.cat(keyframes, dim=1) if keyframes else None,
            coords=coords,
            words=self._read(captions, device),
            group=turn.kind.group,
        )
        return self._remake(model, seen) if random.random() < _REMADE else seen

    @torch.no_grad()
    def _remake(self, model: Any, seen: Seen) -> Seen:
        """The same, with several given latents of a clip as the model makes them; single ones come from images."""
        area = seen.clean.shape[-2] * seen.clean.shape[-1]
        is_chunk = seen.is_given.sum(dim=1) > area
        if not is_chunk.any():
            return seen
        low, high = _REMADE_FROM
        levels = low + (high - low) * torch.rand(len(is_chunk), device=is_chunk.device)
        noisy = add_noise(seen.clean, torch.randn_like(seen.clean), levels)
        said = replace(seen, is_given=torch.zeros_like(seen.is_given)).say(model, noisy, levels)
        remade = noisy - levels.view(-1, 1, 1, 1, 1) * _latents(said, noisy.shape)
        return replace(seen, given=torch.where(is_chunk.view(-1, 1, 1, 1, 1), remade, seen.clean))

    def _keyframes(self, window: Window, random: np.random.Generator) -> list[int]:
        """Which keyframes are given: at times one or two of those in the window."""
        possible = window.keyframes() if random.random() < _KEYFRAMED else []
        return [int(place) for place in random.permutation(possible)[: random.integers(1, 3)]] if possible else []

    @torch.no_grad()
    def _read(self, captions: Sequence[str], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        return embed_captions(captions, self.tokenizer, self.text.text_encoder, self.text.connectors, device)

    @torch.no_grad()
    def _begin_stage_2(self, model: Any, seen: Seen, random: np.random.Generator, *, enlarged: bool) -> torch.Tensor:
        """Latents of full size as stage 2 gets them, before noise: enlarged or as they should be, with an error."""
        start = seen.clean
        if enlarged:
            half = seen.half.to(start.device)
            if random.random() < _AS_MADE:
                half = self._as_made(model, seen, half, int(random.integers(1, _LAST_STEPS + 1)))
            made = self.upsampler(self.cache.restore(half.cpu()).to(start.device))
            start = self.cache.normalise(made.cpu()).to(start.device)[:, :, list(seen.window.frames)]
        error = _FURTHER_ERROR * torch.rand(len(start), 1, 1, 1, 1, device=start.device)
        return start + error * torch.randn_like(start)

    def _as_made(self, model: Any, seen: Seen, half: torch.Tensor, steps: int) -> torch.Tensor:
        """Clips at half size as the last steps of stage 1 make them, which goes on from what is known of them.

        Where things are has been decided by then, so that full size still shows the same.
        """
        count, _, total, height, width = half.shape
        noise = torch.randn_like(half[:: seen.group]).repeat_interleave(seen.group, dim=0)
        is_known = torch.arange(total * height * width, device=half.device) < seen.window.known * height * width
        whole = replace(
            seen,
            clean=half,
            given=half,
            noise=noise,
            is_given=is_known.float().expand(count, -1),
            keyframes=None,
            coords=model.rope.prepare_video_coords(count, total, height, width, half.device, fps=FPS),
        )
        stage = DISTILLED[-steps:]
        begin = torch.full((count,), stage[0], device=half.device)
        made, _ = whole.follow(model, add_noise(half, noise, begin), stage)
        return torch.where(is_known.view(1, 1, total, height, width), half, made)


def _tokens(latents: torch.Tensor) -> torch.Tensor:
    """[B, C, F, h, w] → [B, F · h · w, C], as the pipelines pack them."""
    return latents.flatten(2).transpose(1, 2)


def _latents(tokens: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Tokens as latents of that shape again."""
    return tokens.transpose(1, 2).reshape(shape)


def _keyframe_coords(coords: torch.Tensor, area: int, frame: int) -> torch.Tensor:
    """Positions of a keyframe's tokens: those of the first latent, for one frame at that time."""
    placed = coords[:, :, :area].clone()
    placed[:, 0, :, 0] = frame / FPS
    placed[:, 0, :, 1] = (frame + 1) / FPS
    return placed
