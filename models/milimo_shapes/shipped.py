"""The weights that come with the project, and how they get to where the services look for models.

WEIGHTS/ltx-2, WEIGHTS/flux-2: a checkpoint each, with its manifest. A small SAM 3 is written beside them when they are
installed: it is not trained yet, so its weights are random.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from milimo_runtime.registry import MANIFEST, Registry, replacing

if TYPE_CHECKING:
    from collections.abc import Sequence

FAMILY: Final = "shapes"
VIDEO: Final = "ltx-2"
IMAGE: Final = "flux-2"
SEGMENTATION: Final = "sam-3"
WEIGHTS: Final = Path(__file__).parent / "weights"


def is_current(models_dir: Path, weights: Path = WEIGHTS) -> bool:
    """Whether `models_dir` holds the whole family, as it is in `weights`."""
    return not _outdated(models_dir, weights) and SEGMENTATION in _complete(models_dir)


def install(models_dir: Path, weights: Path = WEIGHTS) -> Sequence[str]:
    """Copies what `models_dir` lacks, or has from other weights; returns the names of those models.

    Needs torch, to write the SAM 3.
    """
    from milimo_tiny.family import write_tiny

    installed = _outdated(models_dir, weights)
    for name in installed:
        with replacing(models_dir / FAMILY / name) as partial:
            shutil.copytree(weights / name, partial)
    return [*installed, *write_tiny(models_dir, family=FAMILY, names=(SEGMENTATION,))]


def _outdated(models_dir: Path, weights: Path) -> list[str]:
    """The models that are not there, not whole, or not these."""
    there = _complete(models_dir)
    return [
        name
        for name in (VIDEO, IMAGE)
        if name not in there or (there[name] / MANIFEST).read_bytes() != (weights / name / MANIFEST).read_bytes()
    ]


def _complete(models_dir: Path) -> dict[str, Path]:
    """The folders of the models that are whole, by name."""
    return {model.manifest.name: model.root for model in Registry(models_dir, FAMILY).models() if model.is_complete}
