"""How the image transformer learns, with its text encoder: flow matching on the autoencoder's latents of pictures.

Of four lessons three have words alone. In the fourth an image stands beside, as the service gives references: one
that shows the object, which the words then do not name, or, as in inpainting, what the picture was before the object
came into it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from milimo_image.defaults import DISTILLED, SIDE_MULTIPLE
from milimo_image.latents import (
    denormalise,
    image_positions,
    normalise,
    reference_positions,
    text_positions,
    to_grid,
    to_tokens,
)
from milimo_runtime.vision_ops import prepare_torchvision
from torch import nn

from milimo_shapes.autoencoder_training import HELD_OUT, contact_sheet, judged_right
from milimo_shapes.captions import caption_of, caption_of_reference
from milimo_shapes.flow import add_noise, draw_levels
from milimo_shapes.image_prompts import embed_captions
from milimo_shapes.rendering import Canvas, draw
from milimo_shapes.sampling import random_scene
from milimo_shapes.scene import Motion, Scene

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Width and height in pixels, and how many make a batch.
_SQUARE: Final = (128, 128, 24)
_WIDE: Final = (256, 128, 12)
_SHOWN: Final = (256, 128, 16)
# The part of steps with square pictures only, and with words only.
_EASY: Final = 0.4
_BESIDE: Final = 0.25
_SCHEDULED: Final = 0.7


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A picture to make, what is said of it, and what image stands beside, if any."""

    wanted: Scene
    caption: str
    beside: Scene | None = None


def load_tokenizer() -> Any:
    """The tokenizer of the text encoder."""
    prepare_torchvision()
    from milimo_shapes.image_parts import caption_tokenizer

    return caption_tokenizer()


class ImageModel(nn.Module):
    """The parts that learn together."""

    def __init__(self, tokenizer: Any) -> None:
        """With weights from torch's generator as it stands."""
        super().__init__()
        prepare_torchvision()
        from milimo_shapes import image_parts

        self.transformer = image_parts.transformer()
        self.text_encoder = image_parts.text_encoder(tokenizer)
        unused = (*self.text_encoder.model.layers[image_parts.USED_LAYERS :], self.text_encoder.model.norm)
        for part in unused:
            part.requires_grad_(requires_grad=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageTransformer:
    """Trains transformer and text encoder on the latents of a trained `autoencoder`."""

    autoencoder: Any
    tokenizer: Any
    name: str = "image-transformer"
    steps: int = 10000
    learning_rate: float = 1e-3
    evaluate_every: int = 1000

    def build(self) -> nn.Module:
        return ImageModel(self.tokenizer)

    def losses(self, model: Any, seed: int, step: int, device: torch.device) -> dict[str, torch.Tensor]:
        random = np.random.default_rng((seed, step))
        is_easy = step < _EASY * self.steps
        width, height, count = _SQUARE if is_easy or random.random() < 0.5 else _WIDE
        has_image = not is_easy and random.random() < _BESIDE
        lessons = [draw_lesson(random, aspect=width / height, has_image=has_image) for _ in range(count)]
        return self.loss_of(model, lessons, width, height, device)

    def loss_of(
        self, model: Any, lessons: Sequence[Lesson], width: int, height: int, device: torch.device
    ) -> dict[str, torch.Tensor]:
        """The loss on pictures of that size, at random noise levels. An image stands beside all of them, or none."""
        clean = self._encode([lesson.wanted for lesson in lessons], width, height, device)
        scenes = [lesson.beside for lesson in lessons if lesson.beside is not None]
        beside = self._encode(scenes, width, height, device) if scenes else None
        levels = draw_levels(
            len(lessons), schedule(clean.shape[2] * clean.shape[3]), scheduled=_SCHEDULED, low=0.05, high=1.0
        ).to(device)
        noise = torch.randn_like(clean)
        words = embed_captions([lesson.caption for lesson in lessons], self.tokenizer, model.text_encoder.model, device)
        said = predict(model.transformer, add_noise(clean, noise, levels), levels, words, beside)
        loss = (said - (noise - clean)).square().mean()
        silent = torch.tensor(torch.nan)
        return {"loss": loss, "words": silent if scenes else loss, "beside": loss if scenes else silent}

    def evaluate(self, model: Any, device: torch.device, pictures: Path) -> dict[str, float]:
        """Makes pictures of captions, in the few steps of the distilled checkpoint, and lets the judge see them."""
        pictures.mkdir(parents=True, exist_ok=True)
        width, height, count = _SHOWN
        random = np.random.default_rng(HELD_OUT)
        lessons = [draw_lesson(random, aspect=width / height, has_image=False) for _ in range(count)]
        words = embed_captions([lesson.caption for lesson in lessons], self.tokenizer, model.text_encoder.model, device)
        rows, columns = height // SIDE_MULTIPLE, width // SIDE_MULTIPLE
        grid = torch.randn(
            (count, model.transformer.config.in_channels, rows, columns), generator=torch.Generator().manual_seed(0)
        ).to(device)
        for level, following in pairwise((*schedule(rows * columns), 0.0)):
            grid = grid + (following - level) * predict(
                model.transformer, grid, torch.full((count,), level, device=device), words, None
            )
        made = self.autoencoder.decode(denormalise(grid, self.autoencoder), return_dict=False)[0].clamp(-1.0, 1.0)
        contact_sheet([made[: count // 2], made[count // 2 :]], pictures / "made.png")
        return {"judged": judged_right([lesson.wanted for lesson in lessons], made)}

    def save(self, model: Any, folder: Path) -> None:
        for name in ("transformer", "text_encoder"):
            getattr(model, name).save_pretrained(folder / name)

    @torch.no_grad()
    def _encode(self, scenes: Sequence[Scene], width: int, height: int, device: torch.device) -> torch.Tensor:
        """Normalised latents [B, C, rows, columns] of pictures of the scenes."""
        frames = np.stack([draw(scene, Canvas(width=width, height=height)).frames[0] for scene in scenes])
        pixels = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        return normalise(self.autoencoder.encode(pixels).latent_dist.mode(), self.autoencoder)


def schedule(tokens: int) -> tuple[float, ...]:
    """The noise levels that the service visits on its way to an image of so many tokens, without the last, 0."""
    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
    from milimo_tiny.flux2_layout import scheduler

    stepper, steps = scheduler(), DISTILLED.steps
    stepper.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=compute_empirical_mu(tokens, steps))
    return tuple(stepper.sigmas[:-1].tolist())


def predict(
    transformer: Any,
    grid: torch.Tensor,
    levels: torch.Tensor,
    words: tuple[torch.Tensor, torch.Tensor],
    beside: torch.Tensor | None,
) -> torch.Tensor:
    """The velocity [B, C, rows, columns] of noisy latents of that shape, as the service asks for it.

    `levels` [B]; `words` as `embed_captions` gives them; `beside` the latents of a reference for each of the batch.
    """
    states, weight = words
    rows, columns = grid.shape[2:]
    tokens, positions = to_tokens(grid), image_positions(rows=rows, columns=columns)
    if beside is not None:
        tokens = torch.cat([tokens, to_tokens(beside)], dim=1)
        positions = torch.cat([positions, reference_positions([(beside.shape[2], beside.shape[3])])], dim=1)
    bias = torch.cat([weight, weight.new_zeros(len(weight), tokens.shape[1])], dim=1)
    said = transformer(
        hidden_states=tokens,
        timestep=levels,
        guidance=None,
        encoder_hidden_states=states,
        txt_ids=text_positions(states.shape[1]).to(grid.device),
        img_ids=positions.to(grid.device),
        joint_attention_kwargs={"attention_mask": bias[:, None, None]},
        return_dict=False,
    )[0]
    return to_grid(said[:, : rows * columns], rows=rows, columns=columns)


def draw_lesson(random: np.random.Generator, *, aspect: float, has_image: bool) -> Lesson:
    """A lesson for pictures with that width ÷ height."""
    if not has_image:
        scene = random_scene(random, aspect=aspect, motions=(Motion.STILL,))
        return Lesson(wanted=scene, caption=caption_of(scene, random, aspect=aspect, moving=False))
    return _reference(random, aspect) if random.random() < 0.5 else _change(random, aspect)


def _reference(random: np.random.Generator, aspect: float) -> Lesson:
    """The same object at another place on another background."""
    shown, other = (random_scene(random, aspect=aspect, motions=(Motion.STILL,), pairs=0.0) for _ in range(2))
    thing = replace(shown.things[0], across=other.things[0].across, down=other.things[0].down)
    wanted = Scene(things=(thing,), background=other.background)
    return Lesson(wanted=wanted, caption=caption_of_reference(wanted.background, random), beside=shown)


def _change(random: np.random.Generator, aspect: float) -> Lesson:
    """An object comes onto a background, beside another object, or in its place."""
    scene = random_scene(random, aspect=aspect, motions=(Motion.STILL,), pairs=0.6)
    new, *others = scene.things
    if not others and random.random() < 0.5:
        before = random_scene(random, aspect=aspect, motions=(Motion.STILL,), pairs=0.0).things[0]
        others = [replace(before, across=new.across, down=new.down)]
    caption = caption_of(Scene(things=(new,), background=scene.background), random, aspect=aspect, moving=False)
    return Lesson(wanted=scene, caption=caption, beside=replace(scene, things=tuple(others)))
