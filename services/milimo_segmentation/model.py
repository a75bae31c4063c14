"""The loaded SAM 3 models and the image embeddings that are kept beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from milimo_runtime.device import DevicePlan
    from milimo_runtime.registry import InstalledModel
    from torch import nn

    from milimo_segmentation.embeddings import EmbeddingCache
    from milimo_segmentation.models import SegmentationModels


@dataclass(frozen=True, kw_only=True)
class LoadedSegmentation:
    """The weights and the embeddings of the images that were seen last; dropped together."""

    models: SegmentationModels
    embeddings: EmbeddingCache

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights."""
        return self.models.total_bytes

    def modules(self) -> Sequence[nn.Module]:
        """The models."""
        return (self.models.detector, self.models.tracker)

    def drop_caches(self) -> None:
        """Forgets the embeddings of images."""
        self.embeddings.clear()


def load(installed: InstalledModel, devices: DevicePlan, check: Callable[[], None]) -> LoadedSegmentation:
    """Loads both models as the plan says. Imports torch and transformers. Raises ModelMissing and what `check` does."""
    from milimo_segmentation.embeddings import embedding_cache
    from milimo_segmentation.models import load_segmentation_models

    detector, tracker = installed.root / "detector", installed.root / "tracker"
    # The published checkpoint is one for both.
    models = load_segmentation_models(detector, tracker if tracker.is_dir() else detector, devices, check)
    return LoadedSegmentation(models=models, embeddings=embedding_cache())
