"""How the text encoder of videos learns to read, with its connectors, before the transformer learns from it.

Learned together with the transformer, embeddings soon tell backgrounds and colours, of which most of a picture is made,
and these then drown what other words say: movements were never heard. So what captions say is learned first, each fact
as loud as any other, and is left as it is. An embedding is a sum of one vector per fact, all at right angles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from milimo_runtime.vision_ops import prepare_torchvision
from torch import nn

from milimo_shapes.captions import RELATIONS, caption_of, relation_of
from milimo_shapes.outlines import Shape
from milimo_shapes.prompts import embed_captions
from milimo_shapes.sampling import random_scene
from milimo_shapes.scene import Backdrop, Colour, Motion, Size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from milimo_shapes.scene import Scene, Thing

_BATCH: Final = 64
_HELD_OUT: Final = 2**31 + 9
_JUDGED: Final = 256
_VECTORS_SEED: Final = 0
# What a caption says, with all that it can say: of the first object, of the second one if there is any, and of the
# background, which has an end if it is graded.
_NONE: Final = (None,)
_FACTS: Final[dict[str, Sequence[object]]] = {
    "colour": tuple(Colour),
    "shape": tuple(Shape),
    "size": tuple(Size),
    "motion": tuple(Motion),
    "second colour": (*Colour, *_NONE),
    "second shape": (*Shape, *_NONE),
    "second size": (*Size, *_NONE),
    "relation": (*RELATIONS, *_NONE),
    "start": tuple(Backdrop),
    "end": (*Backdrop, *_NONE),
}


def load_tokenizer() -> Any:
    """The tokenizer of the text encoder."""
    prepare_torchvision()
    from milimo_shapes.video_parts import caption_tokenizer

    return caption_tokenizer()


class TextModel(nn.Module):
    """The parts that learn together."""

    def __init__(self) -> None:
        """With weights from torch's generator as it stands."""
        super().__init__()
        prepare_torchvision()
        from milimo_shapes import video_parts

        self.text_encoder = video_parts.text_encoder()
        self.connectors = video_parts.connectors()
        # The pipelines' padding is the same in all places only while queries have no bias: see `prompts`.
        self.connectors.video_connector.transformer_blocks[0].attn1.to_q.bias.requires_grad_(False)


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoTextEncoder:
    """Trains text encoder and connectors to say what captions say."""

    tokenizer: Any
    name: str = "video-text-encoder"
    steps: int = 800
    learning_rate: float = 2e-3
    muon: str | None = None
    evaluate_every: int = 500

    def build(self) -> nn.Module:
        return TextModel()

    def losses(self, model: Any, seed: int, step: int, device: torch.device) -> dict[str, torch.Tensor]:
        captions, facts = _draw(_BATCH, np.random.default_rng((seed, step)))
        embeddings, _ = embed_captions(captions, self.tokenizer, model.text_encoder, model.connectors, device)
        error = (embeddings - _wanted(facts, embeddings.shape[-1]).to(device)[:, None]).square().mean(dim=-1)
        # The first is always padding, which stands for most of what the pipelines' attention sees.
        return {"loss": error.mean() + error[:, 0].mean()}

    def evaluate(self, model: Any, device: torch.device, pictures: Path) -> dict[str, float]:
        """The share of captions in which each fact is understood. Sizes are not always said."""
        captions, facts = _draw(_JUDGED, np.random.default_rng(_HELD_OUT))
        embeddings, _ = embed_captions(captions, self.tokenizer, model.text_encoder, model.connectors, device)
        heard = embeddings[:, 0].cpu() @ _vectors(embeddings.shape[-1]).T
        counts = [len(values) for values in _FACTS.values()]
        return {
            name: float((part.argmax(dim=1) == fact).float().mean())
            for name, part, fact in zip(_FACTS, heard.split(counts, dim=1), facts.T, strict=True)
        }

    def save(self, model: Any, folder: Path) -> None:
        for name in ("text_encoder", "connectors"):
            getattr(model, name).save_pretrained(folder / name)


def facts_of(scene: Scene, *, moving: bool) -> list[int]:
    """What a caption of the scene says, as places in the values of each of `_FACTS`."""
    first = scene.things[0]
    second: Thing | None = scene.things[1] if len(scene.things) > 1 else None
    said: dict[str, object] = {
        "colour": first.colour,
        "shape": first.shape,
        "size": first.size,
        "motion": first.motion if moving else Motion.STILL,
        "second colour": second and second.colour,
        "second shape": second and second.shape,
        "second size": second and second.size,
        "relation": second and relation_of(scene, 2.0),
        "start": scene.background.start,
        "end": scene.background.end,
    }
    return [list(values).index(said[name]) for name, values in _FACTS.items()]


def _draw(count: int, random: np.random.Generator) -> tuple[list[str], torch.Tensor]:
    """Captions of clips and of pictures, and their facts [count, facts]."""
    captions, facts = [], []
    for _ in range(count):
        scene, moving = random_scene(random), bool(random.random() < 0.75)
        captions.append(caption_of(scene, random, moving=moving))
        facts.append(facts_of(scene, moving=moving))
    return captions, torch.tensor(facts)


def _wanted(facts: torch.Tensor, width: int) -> torch.Tensor:
    """Embeddings [B, width] of facts [B, facts], as long as the connectors make them."""
    firsts = np.cumsum([0, *(len(values) for values in _FACTS.values())])[:-1]
    summed = _vectors(width)[facts + torch.tensor(firsts)].sum(dim=1)
    return torch.mul(summed, (width / len(_FACTS)) ** 0.5)


def _vectors(width: int) -> torch.Tensor:
    """A unit vector for each value of each fact, [values, width], at right angles to all others."""
    values = sum(map(len, _FACTS.values()))
    drawn = np.random.default_rng(_VECTORS_SEED).normal(size=(width, values))
    return torch.from_numpy(np.linalg.qr(drawn)[0].T.copy()).float()
