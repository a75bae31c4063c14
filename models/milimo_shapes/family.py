"""The shapes family on the disk: checkpoints of trained parts, each with a manifest, as they are shipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from milimo_runtime.registry import ModelFootprint, replacing, write_manifest

from milimo_shapes.image_checkpoint import write_image_checkpoint
from milimo_shapes.latent_cache import HEIGHT, WIDTH
from milimo_shapes.shipped import FAMILY, IMAGE, VIDEO
from milimo_shapes.video_checkpoint import write_video_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_MIB: Final = 1024**2
_NOTE: Final = "Trained on a toy world: coloured shapes that move. It knows nothing else, and 256 × 128 pixels best."
_ADVICE: Final = "`milimo models install shapes` copies it again."
# By name: how it is written, its purpose, and peak bytes on a CPU (weights, activations of 121 frames), in MiB.
_MODELS: Final[Mapping[str, tuple[Callable[[Path, Sequence[Path]], None], str, int]]] = {
    VIDEO: (write_video_checkpoint, "video", 384),
    IMAGE: (write_image_checkpoint, "image", 256),
}


def write_family(weights: Path, trained: Mapping[str, Sequence[Path]]) -> list[Path]:
    """Writes both models below the folder `weights`, in place of those that are there; returns their folders.

    `trained` holds, by model, folders with trained parts; what none of them holds has random weights.
    """
    written = []
    for name, (write, purpose, peak) in _MODELS.items():
        root = weights / name
        manifest: dict[str, Any] = {
            "name": name,
            "family": FAMILY,
            "purpose": purpose,
            "checkpoint": "distilled",
            "license": "Apache-2.0",
            "note": _NOTE,
            "advice": _ADVICE,
            "width": WIDTH,
            "height": HEIGHT,
        }
        with replacing(root) as partial:
            write(partial, trained.get(name, ()))
            write_manifest(partial, manifest, footprints=[ModelFootprint(name="float32", bytes=peak * _MIB)])
        written.append(root)
    return written
