"""An installed checkpoint as a request meets it, before there is a job: whether it is whole, whether LoRAs fit it."""

from __future__ import annotations

import json
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final

from milimo_runtime.registry import Registry

from milimo_video.checkpoint_files import find_checkpoint, temporal_upsampler, weight_shapes
from milimo_video.geometry import SPATIAL_COMPRESSION
from milimo_video.lora_file import find_lora, with_loras
from milimo_video.safetensors_header import read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from milimo_runtime.registry import InstalledModel

    from milimo_video.lora_file import LoraFile
    from milimo_video.request import Checkpoint, VideoRequest

_REMEMBERED_FILES: Final = 64
_REMEMBERED_CHECKPOINTS: Final = 4


def checkpoint_of(installed: InstalledModel) -> Checkpoint:
    """What the transformer's weights are, as the manifest says."""
    return "dev" if installed.manifest.checkpoint == "dev" else "distilled"


def compression_of(installed: InstalledModel) -> int:
    """Pixels that a side of a latent stands for: as the autoencoder's configuration says, in diffusers' layout."""
    config = installed.root / "vae" / "config.json"
    said = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    return int(said.get("spatial_compression_ratio") or SPATIAL_COMPRESSION)


def lora_finder(installed: InstalledModel) -> Callable[[str], LoraFile]:
    """Finds LoRAs in the registry that the model is in; raises as `find_lora`."""
    return partial(find_lora, _registry_of(installed), field="loras.name")


def meet(installed: InstalledModel, request: VideoRequest) -> VideoRequest:
    """The request with what its LoRAs' files say filled in.

    Raises:
        ModelMissing: a file of the checkpoint, one that the request needs, or a LoRA's, is missing or cut off.
        NotFound: there is no such LoRA.
        InvalidArgument: a LoRA is of another model.
    """
    name = installed.full_name
    files = find_checkpoint(installed.root, name=name, checkpoint=checkpoint_of(installed))
    for path in sorted(installed.root.rglob("*.safetensors")):
        written = path.stat()
        _require_whole(path, name, written.st_size, written.st_mtime_ns)
    # A single frame is an image, without a rate that could be doubled.
    if request.upscale and (request.num_frames > 1 or request.extension is not None):
        temporal_upsampler(files, name=name)
    if not request.loras:
        return request
    newest = max(path.stat().st_mtime_ns for path in installed.root.rglob("*.safetensors"))
    shapes = _shapes(files.root, name, checkpoint_of(installed), newest)
    return with_loras(request, _registry_of(installed), shapes, model=name)


def _registry_of(installed: InstalledModel) -> Registry:
    family = installed.root.parent
    return Registry(family.parent, family.name)


@lru_cache(maxsize=_REMEMBERED_FILES)
def _require_whole(path: Path, name: str, size: int, written_ns: int) -> None:
    """Read once for each size and time of writing."""
    read_header(path, model=name)


@lru_cache(maxsize=_REMEMBERED_CHECKPOINTS)
def _shapes(root: Path, name: str, checkpoint: Checkpoint, written_ns: int) -> Mapping[str, tuple[int, ...]]:
    return weight_shapes(find_checkpoint(root, name=name, checkpoint=checkpoint), name=name)
