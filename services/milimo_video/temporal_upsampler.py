"""The temporal upsampler beside a loaded checkpoint: read when a video first needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class TemporalUpsampler:
    """An LTX2LatentUpsamplePipeline that puts latents between latents. Belongs to the thread that computes."""

    def __init__(self, load: Callable[[], Any]) -> None:
        """`load` reads the pipeline; what it raises, `ModelMissing` for instance, reaches whoever asks for it."""
        self._load = load
        self._pipeline: Any = None

    def __bool__(self) -> bool:
        """Whether its weights are in memory."""
        return self._pipeline is not None

    def pipeline(self) -> Any:
        """The pipeline, which is read when it is not there. Raises as the `load` that it was made with."""
        if self._pipeline is None:
            self._pipeline = self._load()
        return self._pipeline

    def clear(self) -> None:
        """Drops the weights."""
        self._pipeline = None
