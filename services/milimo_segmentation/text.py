"""A short text to all instances of what it names."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from milimo_runtime.errors import InvalidArgument
from milimo_runtime.observer import unwatched

from milimo_segmentation import defaults
from milimo_segmentation.embeddings import content_key, detector_embedding
from milimo_segmentation.pixels import Field
from milimo_segmentation.prompts import Box

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from PIL.Image import Image

    from milimo_segmentation.embeddings import EmbeddingCache, ImageEmbedding
    from milimo_segmentation.models import SegmentationModels


@dataclass(frozen=True, kw_only=True, eq=False)
class Instance:
    """One thing that the text names: where it is, the model's box, a score of 0 to 1."""

    field: Field
    box: Box
    score: float


def segment_text(
    models: SegmentationModels,
    embeddings: EmbeddingCache,
    image: Image,
    text: str,
    *,
    confidence: float = defaults.DEFAULT_CONFIDENCE,
    key: str | None = None,
    limit: int = defaults.MAX_INSTANCES,
    check: Callable[[], None] = unwatched,
) -> tuple[Instance, ...]:
    """Everything in `image` (RGB) that `text`, a short noun phrase, names with a score above `confidence`, 0 to 1.

    Best first, at most `limit`. Finding nothing is an answer, not an error. `key` is the digest of the image's content
    where it is known already. `check` is called between the backbone and the detector; what it raises passes.
    Raises `InvalidArgument` for an empty text, one longer than the model reads (32 tokens), and the confidence.
    """
    if not 0 <= confidence <= 1:
        raise InvalidArgument("confidence", f"is {confidence:g}; expected 0 to 1")
    tokens = _tokens(models, text)
    embedding = detector_embedding(models, embeddings, image, key or content_key(image))
    check()
    return _detect(models, embedding, tokens, image.size, confidence, limit)


def _tokens(models: SegmentationModels, text: str) -> dict[str, torch.Tensor]:
    if not text.strip():
        raise InvalidArgument("text", "is empty; name what is to be found")
    if len(text) > defaults.MAX_TEXT_CHARACTERS:
        raise InvalidArgument(
            "text", f"has {len(text)} characters; at most {defaults.MAX_TEXT_CHARACTERS} are accepted"
        )
    limit = models.detector.config.text_config.max_position_embeddings
    inputs = models.detector_processor.tokenizer(text, return_tensors="pt", padding="max_length", max_length=limit)
    count = inputs["input_ids"].shape[1]
    if count > limit:
        raise InvalidArgument("text", f"has {count} tokens, the model reads {limit}: use a short noun phrase")
    return {name: inputs[name].to(models.detector.device) for name in ("input_ids", "attention_mask")}


@torch.inference_mode()
def _detect(
    models: SegmentationModels,
    embedding: ImageEmbedding,
    tokens: dict[str, torch.Tensor],
    size: tuple[int, int],
    confidence: float,
    limit: int,
) -> tuple[Instance, ...]:
    from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

    width, height = size
    with _attention(models):
        output = models.detector(
            vision_embeds=Sam3VisionEncoderOutput(
                fpn_hidden_states=embedding.features, fpn_position_encoding=embedding.positions
            ),
            **tokens,
        )
    # What the processor's post_process_instance_segmentation computes, but for the step to the size of the image: that
    # one holds all of them at full size in 12 bytes per pixel.
    presence = output.presence_logits[0].float().sigmoid()
    scores = (output.pred_logits[0].float().sigmoid() * presence).cpu()
    boxes = output.pred_boxes[0].float().cpu() * torch.tensor([width, height, width, height])
    instances = []
    for index in torch.argsort(scores, descending=True, stable=True).tolist()[:limit]:
        if scores[index] <= confidence:
            break
        probabilities = output.pred_masks[0, index].float().sigmoid().cpu().numpy()
        instances.append(
            Instance(
                field=Field(values=probabilities, threshold=defaults.MASK_THRESHOLD, width=width, height=height),
                box=_inside(boxes[index].tolist(), width, height),
                score=float(scores[index]),
            )
        )
    return tuple(instances)


def _inside(corners: list[float], width: int, height: int) -> Box:
    """The part of a box that lies in the image."""
    x0, x1 = (min(max(x, 0.0), float(width)) for x in corners[::2])
    y0, y1 = (min(max(y, 0.0), float(height)) for y in corners[1::2])
    return Box(x0=x0, y0=y0, x1=x1, y1=y1)


def _attention(models: SegmentationModels) -> AbstractContextManager[None]:
    if not models.math_attention:
        return nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)
