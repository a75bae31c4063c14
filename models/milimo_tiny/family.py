"""The tiny family: which models it has, what they need, and how they come onto the disk, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from milimo_runtime.registry import ModelFootprint, Registry, replacing, write_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from milimo_runtime.registry import InstalledModel

FAMILY: Final = "tiny"
_MIB: Final = 1024**2
_NOTE: Final = "Random weights: what it makes is noise by design."

# Name → manifest, peak bytes on a CPU (weights, activations of the sizes that tests use), in MiB.
MODELS: Final[Mapping[str, tuple[dict[str, Any], int]]] = {
    "ltx-2": ({"purpose": "video", "checkpoint": "distilled"}, 384),
    "flux-2": ({"purpose": "image", "checkpoint": "distilled"}, 256),
    "flux-2-base": ({"purpose": "image", "checkpoint": "base"}, 256),
    "sam-3": ({"purpose": "segmentation", "checkpoint": ""}, 128),
}

# A file that earlier versions did not write: without it a model is written again.
_NEWEST: Final[Mapping[str, str]] = {
    "ltx-2": "temporal_upsampler/diffusion_pytorch_model.safetensors",
    "flux-2": "ip-adapter.safetensors",
}


def _writers() -> Mapping[str, Callable[[Path, int], None]]:
    # torch, diffusers and transformers take seconds to import: not needed to see that all is there.
    from transformers.utils import logging

    from milimo_tiny.flux2 import write_flux2, write_flux2_base
    from milimo_tiny.ltx2 import write_ltx2
    from milimo_tiny.sam3 import write_sam3

    logging.disable_progress_bar()
    return {"ltx-2": write_ltx2, "flux-2": write_flux2, "flux-2-base": write_flux2_base, "sam-3": write_sam3}


def write_tiny(
    models_dir: Path,
    *,
    family: str = FAMILY,
    names: Sequence[str] = tuple(MODELS),
    seed: int = 0,
    force: bool = False,
) -> list[str]:
    """Writes those of the tiny models that are missing or incomplete below `models_dir`, all with `force`.

    Another `family` may take some of them, until it has its own.

    Returns:
        The names of those that were written.
    """
    registry = Registry(models_dir, family)
    whole = {model.manifest.name for model in registry.models() if _is_whole(model)}
    missing = [name for name in names if force or name not in whole]
    if not missing:
        return []
    writers = _writers()
    for name in missing:
        manifest, peak = MODELS[name]
        facts = {
            "name": name,
            "family": family,
            "license": "Apache-2.0",
            "note": _NOTE,
            "advice": f"`milimo models install {family}` writes it again.",
            **manifest,
        }
        with replacing(registry.root / name) as partial:
            writers[name](partial, seed)
            write_manifest(partial, facts, footprints=[ModelFootprint(name="float32", bytes=peak * _MIB)])
    return missing


def _is_whole(model: InstalledModel) -> bool:
    newest = _NEWEST.get(model.manifest.name)
    return model.is_complete and (newest is None or newest in {file.path for file in model.manifest.files})
