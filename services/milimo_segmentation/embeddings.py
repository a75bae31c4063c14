"""Image embeddings, kept by the image's content: the second question about an image does not run the backbone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from milimo_runtime.lru import ByteBoundedCache

from milimo_segmentation import defaults

if TYPE_CHECKING:
    from PIL.Image import Image

    from milimo_segmentation.models import SegmentationModels


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageEmbedding:
    """Feature maps of an image, finest first, and for the detector the encodings of their positions."""

    features: tuple[torch.Tensor, ...]
    # The same tensors for every image: the model keeps them anyway.
    positions: tuple[torch.Tensor, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes that this embedding adds."""
        return sum(feature.nbytes for feature in self.features)


# Keyed by the model that it is for and the content of the image.
EmbeddingCache = ByteBoundedCache[tuple[str, str], ImageEmbedding]


def embedding_cache(max_bytes: int = defaults.EMBEDDING_CACHE_BYTES) -> EmbeddingCache:
    """An empty cache of embeddings. It belongs to one load of the models: clear it when they leave the device."""
    return ByteBoundedCache(max_bytes=max_bytes, size_of=lambda embedding: embedding.nbytes)


def content_key(image: Image) -> str:
    """A digest of the pixels of an image. An asset's content hash may be used in its place."""
    digest = hashlib.sha256(f"{image.mode}:{image.width}x{image.height}:".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def tracker_embedding(models: SegmentationModels, cache: EmbeddingCache, image: Image, key: str) -> ImageEmbedding:
    """The embedding that clicks need; the backbone runs only when `key` is not cached."""
    return cache.get_or_compute(("tracker", key), lambda: _embed_for_tracker(models, image))


def detector_embedding(models: SegmentationModels, cache: EmbeddingCache, image: Image, key: str) -> ImageEmbedding:
    """The embedding that texts need; the backbone runs only when `key` is not cached."""
    return cache.get_or_compute(("detector", key), lambda: _embed_for_detector(models, image))


@torch.inference_mode()
def _embed_for_tracker(models: SegmentationModels, image: Image) -> ImageEmbedding:
    model = models.tracker
    pixels = models.tracker_processor(images=image, return_tensors="pt")["pixel_values"]
    return ImageEmbedding(features=tuple(model.get_image_embeddings(pixels.to(model.device, model.dtype))))


@torch.inference_mode()
def _embed_for_detector(models: SegmentationModels, image: Image) -> ImageEmbedding:
    model = models.detector
    pixels = models.detector_processor(images=image, return_tensors="pt")["pixel_values"]
    output = model.get_vision_features(pixels.to(model.device, model.dtype))
    return ImageEmbedding(features=tuple(output.fpn_hidden_states), positions=tuple(output.fpn_position_encoding))
