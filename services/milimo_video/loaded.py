"""The weights that a video process has in memory, with what is kept beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from milimo_runtime.device import ELEMENT_TYPES, SMALLER_GRADES

from milimo_video.installed import checkpoint_of, lora_finder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from milimo_runtime.device import DevicePlan
    from milimo_runtime.registry import InstalledModel
    from torch import nn

    from milimo_video.models import VideoModels
    from milimo_video.text import PromptCache

_CACHED_PROMPTS: Final = 64
# The footprints that `load` knows.
GRADES: Final = frozenset({*ELEMENT_TYPES, *SMALLER_GRADES})


@dataclass(frozen=True, kw_only=True)
class LoadedVideo:
    """The weights and what is kept beside them; dropped together."""

    models: VideoModels
    prompts: PromptCache

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights."""
        return self.models.weight_bytes

    def modules(self) -> Sequence[nn.Module]:
        """The parts that hold weights."""
        return self.models.modules()

    def drop_caches(self) -> None:
        """Forgets the embeddings of prompts, the LoRAs beside the weights and the temporal upsampler."""
        self.prompts.clear()
        self.models.adapters.clear()
        self.models.temporal.clear()


def load(installed: InstalledModel, devices: DevicePlan, check: Callable[[], None]) -> LoadedVideo:
    """Loads the checkpoint as the plan says. Imports torch and diffusers. Raises ModelMissing and what `check` does."""
    from milimo_video.models import load_models
    from milimo_video.text import PromptCache

    models = load_models(
        installed.root,
        name=installed.full_name,
        checkpoint=checkpoint_of(installed),
        devices=devices,
        find_lora=lora_finder(installed),
        check=check,
    )
    return LoadedVideo(models=models, prompts=PromptCache(_CACHED_PROMPTS))
