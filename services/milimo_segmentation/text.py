"""A short text to all instances of what it names."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from milimo_runtime.errors import InvalidArgument

from milimo_segmentation import defaults
from milimo_segmentation.embeddings import content_key, detector_embedding
from milimo_segmentation.encoding import merge_masks
from milimo_segmentation.prompts import Box

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

    from milimo_segmentation.embeddings import EmbeddingCache, ImageEmbedding
    from milimo_segmentation.models import SegmentationModels


@dataclass(frozen=True, kw_only=True, eq=False)
class Instance:
    """One thing that the text names: its pixels, (height, width) of the input, the model's box, a score of 0 to 1."""

    mask: npt.NDArray[np.bool_]
    box: Box
    score: float


@dataclass(frozen=True, kw_only=True, eq=False)
class TextSegmentation:
    """All instances, best first, and the union of their masks; without instances the union is empty."""

    instances: tuple[Instance, ...]
    merged: npt.NDArray[np.bool_]


def segment_text(
    models: SegmentationModels,
    embeddings: EmbeddingCache,
    image: Image,
    text: str,
    *,
    confidence: float = defaults.DEFAULT_CONFIDENCE,
    key: str | None = None,
) -> TextSegmentation:
    """Everything in `image` (RGB) that `text`, a short noun phrase, names with a score above `confidence`, 0 to 1.

    Finding nothing is an answer, not an error. `key` is the digest of the image's content where it is known already.
    Raises `InvalidArgument` for an empty text, one longer than the model reads (32 tokens), and the confidence.
    """
    if not 0 <= confidence <= 1:
        raise InvalidArgument("confidence", f"is {confidence:g}; expected 0 to 1")
    tokens = _tokens(models, text)
    embedding = detector_embedding(models, embeddings, image, key or content_key(image))
    return _detect(models, embedding, tokens, image.size, confidence)


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
) -> TextSegmentation:
    from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

    width, height = size
    with _attention(models):
        output = models.detector(
            vision_embeds=Sam3VisionEncoderOutput(
                fpn_hidden_states=embedding.features, fpn_position_encoding=embedding.positions
            ),
            **tokens,
        )
    # What the processor's post_process_instance_segmentation computes, but one instance at a time: that one holds all
    # of them at full size in 12 bytes per pixel.
    presence = output.presence_logits[0].float().sigmoid()
    scores = (output.pred_logits[0].float().sigmoid() * presence).cpu()
    boxes = output.pred_boxes[0].float().cpu() * torch.tensor([width, height, width, height])
    instances = []
    for index in torch.argsort(scores, descending=True, stable=True).tolist():
        if scores[index] <= confidence:
            break
        probabilities = torch.nn.functional.interpolate(
            output.pred_masks[:, index : index + 1].float().sigmoid(),
            size=(height, width),
            mode="bilinear",
            align_corners=False,
        )[0, 0]
        mask = (probabilities > defaults.MASK_THRESHOLD).cpu().numpy()
        instances.append(
            Instance(mask=mask, box=_inside(boxes[index].tolist(), width, height), score=float(scores[index]))
        )
    merged = merge_masks((instance.mask for instance in instances), height=height, width=width)
    return TextSegmentation(instances=tuple(instances), merged=merged)


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
