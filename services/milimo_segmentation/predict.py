"""Points and boxes to the masks of the objects that they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from milimo_runtime.observer import unwatched

from milimo_segmentation.embeddings import content_key, tracker_embedding
from milimo_segmentation.pixels import Field
from milimo_segmentation.prompts import check_prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL.Image import Image

    from milimo_segmentation.embeddings import EmbeddingCache
    from milimo_segmentation.models import SegmentationModels
    from milimo_segmentation.prompts import Box, Point


@dataclass(frozen=True, kw_only=True, eq=False)
class Mask:
    """Where an object is, and the model's estimate of the quality of that, 0 to 1."""

    field: Field
    score: float
    # Of several boxes, the one that it belongs to.
    object_index: int = 0


def predict_mask(
    models: SegmentationModels,
    embeddings: EmbeddingCache,
    image: Image,
    points: Sequence[Point],
    boxes: Sequence[Box],
    *,
    multimask: bool,
    key: str | None = None,
    check: Callable[[], None] = unwatched,
) -> tuple[Mask, ...]:
    """The masks of the object that the points and the box mean, best first; with several boxes, of one object each.

    With `multimask` there are three candidates for each object (whole, part, detail), else one. `image` is RGB; `key`
    is its content's digest where it is known already. `check` is called between the backbone and the decoder; what it
    raises passes. Raises `InvalidArgument` for prompts that do not fit the image.
    """
    check_prompts(points, boxes, width=image.width, height=image.height)
    embedding = tracker_embedding(models, embeddings, image, key or content_key(image))
    check()
    return _decode(models, embedding.features, image.size, points, boxes, multimask=multimask)


@torch.inference_mode()
def _decode(
    models: SegmentationModels,
    features: Sequence[torch.Tensor],
    size: tuple[int, int],
    points: Sequence[Point],
    boxes: Sequence[Box],
    *,
    multimask: bool,
) -> tuple[Mask, ...]:
    width, height = size
    model, processor = models.tracker, models.tracker_processor
    prompts = processor(
        original_sizes=[[height, width]],
        input_points=[[[[point.x, point.y] for point in points]]] if points else None,
        input_labels=[[[int(point.positive) for point in points]]] if points else None,
        input_boxes=[[[box.x0, box.y0, box.x1, box.y1] for box in boxes]] if boxes else None,
        return_tensors="pt",
    )
    inputs = {
        name: prompts[name].to(model.device)
        for name in ("input_points", "input_labels", "input_boxes")
        if name in prompts
    }
    output = model(image_embeddings=list(features), multimask_output=multimask, **inputs)
    # numpy has no bfloat16.
    logits, scores = output.pred_masks[0].float().cpu(), output.iou_scores[0].float().cpu()
    masks: list[Mask] = []
    for index in range(logits.shape[0]):
        masks.extend(
            # A logit above 0 is a probability above one half.
            Mask(
                field=Field(values=logits[index, rank].numpy(), threshold=0.0, width=width, height=height),
                score=float(scores[index, rank]),
                object_index=index,
            )
            for rank in torch.argsort(scores[index], descending=True, stable=True).tolist()
        )
    return tuple(masks)
