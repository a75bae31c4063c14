"""How the image transformer learns, with its text encoder: flow matching on the autoencoder's latents of pictures.

Small pictures and words come first, then larger ones, and then images that stand beside, as the service gives
references.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from milimo_image.defaults import DISTILLED, SIDE_MULTIPLE
from milimo_image.latents import denormalise, image_positions, reference_positions, text_positions, to_grid, to_tokens
from milimo_runtime.vision_ops import prepare_torchvision
from torch import nn

from milimo_shapes.autoencoder_training import HELD_OUT, contact_sheet, judged_right
from milimo_shapes.coupling import couple, move, settle
from milimo_shapes.flow import add_noise, draw_levels, velocity, weight_of
from milimo_shapes.image_autoencoder import SPREAD
from milimo_shapes.image_prompts import embed_captions
from milimo_shapes.lesson_cache import LessonCache, LessonKind, Lessons, encode_scenes
from milimo_shapes.lessons import draw_lesson
from milimo_shapes.phases import columns, draw_by_phase
from milimo_shapes.rendering import Canvas, path
from milimo_shapes.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from milimo_shapes.lessons import Lesson
    from milimo_shapes.places import Choice, Place
    from milimo_shapes.scene import Background

SQUARE: Final = LessonKind(name="square", width=128, height=128, has_image=False)
WIDE: Final = LessonKind(name="wide", width=256, height=128, has_image=False)
LARGE: Final = LessonKind(name="large", width=256, height=256, has_image=False)
SQUARE_BESIDE: Final = LessonKind(name="square_beside", width=128, height=128, has_image=True)
WIDE_BESIDE: Final = LessonKind(name="wide_beside", width=256, height=128, has_image=True)
# By kind, how many the cache has, and how many make a batch: batches take about the same time.
KINDS: Final = {SQUARE: 4096, WIDE: 6144, LARGE: 512, SQUARE_BESIDE: 3072, WIDE_BESIDE: 6144}
_BATCHES: Final = {SQUARE: 16, WIDE: 9, LARGE: 4, SQUARE_BESIDE: 9, WIDE_BESIDE: 5}
# Until which part of the steps, and how often each is learned from.
_PHASES: Final = (
    (0.18, {SQUARE: 1.0}),
    (0.36, {SQUARE: 0.4, WIDE: 0.6}),
    (0.84, {SQUARE: 0.1, WIDE: 0.5, LARGE: 0.05, SQUARE_BESIDE: 0.05, WIDE_BESIDE: 0.3}),
    (1.00, {SQUARE: 0.08, WIDE: 0.36, LARGE: 0.05, SQUARE_BESIDE: 0.12, WIDE_BESIDE: 0.39}),
)
_SHOWN: Final = 16
# How often a noise level is one that the service visits.
_SCHEDULED: Final = 0.85
# How often all steps of the service are learned, of fewer lessons, each from what the step before it made. In most of
# those in which an image shows what was before, what lies outside of a part is put back, as inpainting does.
_STEPPED: Final = 0.6
_STEPPED_BATCHES: Final = {SQUARE: 5, WIDE: 3, LARGE: 1, SQUARE_BESIDE: 3, WIDE_BESIDE: 2}
_REPAINTED: Final = 0.7


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
class _Prepared:
    """Lessons as the transformer sees them: latents and noise [B, C, rows, columns], and words."""

    clean: torch.Tensor
    before: torch.Tensor  # without the objects that words or images tell of
    noise: torch.Tensor
    words: tuple[torch.Tensor, torch.Tensor]
    beside: torch.Tensor | None
    choices: list[list[Choice]]
    cell: float


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageTransformer:
    """Trains transformer and text encoder on the latents of a trained `autoencoder`."""

    autoencoder: Any
    tokenizer: Any
    cache: LessonCache
    name: str = "image-transformer"
    steps: int = 28400
    learning_rate: float = 1e-3
    muon: str | None = None
    evaluate_every: int = 500
    _grounds: dict[tuple[str, Background], torch.Tensor] = field(default_factory=dict)

    def build(self) -> nn.Module:
        return ImageModel(self.tokenizer)

    def losses(self, model: Any, seed: int, step: int, device: torch.device) -> dict[str, torch.Tensor]:
        random = np.random.default_rng((seed, step))
        kind = draw_by_phase(_PHASES, step / self.steps, random)
        is_stepped = random.random() < _STEPPED
        drawn = self.cache.draw(kind, (_STEPPED_BATCHES if is_stepped else _BATCHES)[kind], random)
        loss = (self.loss_of_steps if is_stepped else self.loss_of)(model, kind, drawn, random, device)
        return columns([each.name for each in KINDS], kind.name, loss)

    def loss_of(
        self, model: Any, kind: LessonKind, drawn: Lessons, random: np.random.Generator, device: torch.device
    ) -> torch.Tensor:
        """The loss on these lessons of that kind, at random noise levels."""
        lessons = self._prepare(model, kind, drawn, random, device)
        visited = schedule(lessons.clean.shape[2] * lessons.clean.shape[3])
        levels = draw_levels(len(lessons.clean), visited, scheduled=_SCHEDULED, low=0.05, high=1.0).to(device)
        noisy = add_noise(lessons.clean, lessons.noise, levels)
        said = predict(model.transformer, noisy, levels, lessons.words, lessons.beside)
        return loss_at(levels, said, noisy, lessons.clean).mean()

    def loss_of_steps(
        self, model: Any, kind: LessonKind, drawn: Lessons, random: np.random.Generator, device: torch.device
    ) -> torch.Tensor:
        """The loss on these lessons along the steps of the service.

        The first step says where two objects lie. At each further one they are learned where it puts them: another
        place than the lesson's is as good.
        """
        part = draw_part(drawn.lessons, kind, random).to(device) if random.random() < _REPAINTED else None
        lessons = self._prepare(model, kind, drawn, random, device, part)
        visited = (*schedule(lessons.clean.shape[2] * lessons.clean.shape[3]), 0.0)
        noisy, clean, losses = lessons.noise, lessons.clean, []
        for index, (level, following) in enumerate(pairwise(visited)):
            levels = torch.full((len(noisy),), level, device=device)
            said = predict(model.transformer, noisy, levels, lessons.words, lessons.beside)
            if index > 0:
                made = noisy - level * said.detach() - lessons.before
                clean = lessons.before + move(made, lessons.clean - lessons.before, lessons.choices, lessons.cell)
            loss = loss_at(levels, said, noisy, clean)
            if index == 0 and part is not None:
                # That a part stays as it is can only be seen after the first step.
                loss = loss * part.flatten(1).amin(dim=1)
            losses.append(loss)
            noisy = noisy + (following - level) * said.detach()
            if part is not None:
                known = add_noise(lessons.before, lessons.noise, torch.full_like(levels, following))
                noisy = torch.where(part > 0, noisy, known)
        return torch.stack(losses).mean()

    def _prepare(
        self,
        model: Any,
        kind: LessonKind,
        drawn: Lessons,
        random: np.random.Generator,
        device: torch.device,
        part: torch.Tensor | None = None,
    ) -> _Prepared:
        clean = drawn.wanted.to(device)
        beside = None if drawn.beside is None else drawn.beside.to(device)
        before = self._before(kind, drawn.lessons, beside, device)
        choices = [lesson.choices() for lesson in drawn.lessons]
        cell = SIDE_MULTIPLE / min(kind.width, kind.height)
        if part is not None:
            choices = [
                [choice.within(each[0], cell) for choice in places] for each, places in zip(part, choices, strict=True)
            ]
        added = settle(clean - before, choices, cell, _middles(part, kind, len(clean)))
        choices = [places if len(places) > 1 else [] for places in choices]
        captions = [lesson.caption(random) for lesson in drawn.lessons]
        return _Prepared(
            clean=before + added,
            before=before,
            noise=couple(torch.randn_like(clean), added, choices, cell),
            words=embed_captions(captions, self.tokenizer, model.text_encoder.model, device),
            beside=beside,
            choices=choices,
            cell=cell,
        )

    def _before(
        self, kind: LessonKind, lessons: Sequence[Lesson], beside: torch.Tensor | None, device: torch.device
    ) -> torch.Tensor:
        """Latents [B, C, rows, columns] of the pictures before the objects came that words or images tell of."""
        return torch.stack(
            [
                self._ground(lesson.wanted.background, kind, device)
                if beside is None or lesson.told is None
                else beside[index]
                for index, lesson in enumerate(lessons)
            ]
        )

    @torch.no_grad()
    def _ground(self, background: Background, kind: LessonKind, device: torch.device) -> torch.Tensor:
        """Latents [C, rows, columns] of a picture of the background alone."""
        key = (kind.name, background)
        if key not in self._grounds:
            scene = Scene(things=(), background=background)
            self._grounds[key] = encode_scenes(self.autoencoder, [scene], kind, device)[0]
        return self._grounds[key]

    def evaluate(self, model: Any, device: torch.device, pictures: Path) -> dict[str, float]:
        """Makes pictures of captions, in the few steps of the distilled checkpoint, and lets the judge see them."""
        pictures.mkdir(parents=True, exist_ok=True)
        figures = {}
        for kind in (SQUARE, WIDE):
            random = np.random.default_rng(HELD_OUT)
            aspect = kind.width / kind.height
            lessons = [draw_lesson(random, aspect=aspect, has_image=False) for _ in range(_SHOWN)]
            captions = [lesson.caption(random) for lesson in lessons]
            words = embed_captions(captions, self.tokenizer, model.text_encoder.model, device)
            rows, columns = kind.height // SIDE_MULTIPLE, kind.width // SIDE_MULTIPLE
            shape = (_SHOWN, model.transformer.config.in_channels, rows, columns)
            noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
            grid = sample(model.transformer, noise, words)
            made = self.autoencoder.decode(denormalise(grid, self.autoencoder), return_dict=False)[0].clamp(-1.0, 1.0)
            contact_sheet([made[: _SHOWN // 2], made[_SHOWN // 2 :]], pictures / f"{kind.name}.png")
            figures[kind.name] = judged_right([lesson.wanted for lesson in lessons], made)
        return figures

    def save(self, model: Any, folder: Path) -> None:
        for name in ("transformer", "text_encoder"):
            getattr(model, name).save_pretrained(folder / name)


def loss_at(levels: torch.Tensor, said: torch.Tensor, noisy: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """The loss [B] of velocities that were said of noisy latents at these levels, which shall become `clean`."""
    error = (said - velocity(noisy, clean, levels)).square().mean(dim=(1, 2, 3))
    return weight_of(levels, SPREAD) * error


def draw_part(lessons: Sequence[Lesson], kind: LessonKind, random: np.random.Generator) -> torch.Tensor:
    """A part of each picture, [B, 1, rows, columns] of ones and zeros, in which the first object lies, or all of it.

    It is all where no image shows what was before. Else it is what lies on one side of a line beside the object.
    """
    rows, columns = kind.height // SIDE_MULTIPLE, kind.width // SIDE_MULTIPLE
    side = min(rows, columns)
    parts = torch.ones(len(lessons), 1, rows, columns)
    for part, lesson in zip(parts, lessons, strict=True):
        if lesson.beside is None or lesson.told is None:
            continue
        centre, radii = path(lesson.wanted.things[0], Canvas(width=kind.width, height=kind.height))
        x, reach = centre[0, 0] / SIDE_MULTIPLE, radii[0] / SIDE_MULTIPLE
        first, last = math.floor(x - 1.2 * reach), math.ceil(x + 1.2 * reach)
        is_left = random.random() < 0.5
        if is_left and first > 0:
            part[:, :, : int(random.integers(max(first - side // 2, 0), first)) + 1] = 0.0
        elif not is_left and last < columns:
            part[:, :, int(random.integers(last, min(last + side // 2, columns))) :] = 0.0
    return parts


def _middles(part: torch.Tensor | None, kind: LessonKind, count: int) -> list[Place]:
    """The middle of each picture, or of the part of it that `part` [B, 1, rows, columns] leaves open."""
    side = min(kind.width, kind.height)
    y, width = kind.height / side / 2, kind.width / side
    if part is None:
        return [(width / 2, y)] * count
    opened = [torch.nonzero(each.amax(dim=(0, 1)))[:, 0].float().mean() + 0.5 for each in part]
    return [(float(column) * SIDE_MULTIPLE / side, y) for column in opened]


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


def sample(transformer: Any, noise: torch.Tensor, words: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """What becomes of noise [B, C, rows, columns] in the steps of the service, without an image beside."""
    grid = noise
    for level, following in pairwise((*schedule(grid.shape[2] * grid.shape[3]), 0.0)):
        levels = torch.full((len(grid),), level, device=grid.device)
        grid = grid + (following - level) * predict(transformer, grid, levels, words, None)
    return grid
