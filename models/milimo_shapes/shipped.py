"""The weights that come with the project, and how they get to where the services look for models.

WEIGHTS/ltx-2, WEIGHTS/flux-2: a checkpoint each, with its manifest. A small SAM 3 is written beside them when they are
installed: it is not trained yet, so its weights are random.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from milimo_runtime.registry import MANIFEST, Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

FAMILY: Final = "shapes"
VIDEO: Final = "ltx-2"
IMAGE: Final = "flux-2"
SEGMENTATION: Final = "sam-3"
WEIGHTS: Final = Path(__file__).parent / "weights"


def is_current(models_dir: Path, weights: Path = WEIGHTS) -> bool:
    """Whether `models_dir` holds the whole family, as it is in `weights`."""
    return not _outdated(models_dir, weights) and _is_whole(models_dir, SEGMENTATION)


def install(models_dir: Path, weights: Path = WEIGHTS) -> Sequence[str]:
    """Copies what `models_dir` lacks, or has from other weights; returns the names of those models.

    Needs torch, to write the SAM 3.
    """
    from milimo_tiny.family import write_tiny

    installed = _outdated(models_dir, weights)
    family = models_dir / FAMILY
    for name in installed:
        partial = family / f".{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(weights / name, partial)
        # Whole or not at all: somebody may be loading it.
        shutil.rmtree(family / name, ignore_errors=True)
        partial.rename(family / name)
    return [*installed, *write_tiny(models_dir, family=FAMILY, names=(SEGMENTATION,))]


def _outdated(models_dir: Path, weights: Path) -> list[str]:
    """The models that are not there, not whole, or not these."""
    family = models_dir / FAMILY
    return [
        name
        for name in (VIDEO, IMAGE)
        if not _is_whole(models_dir, name)
        or (family / name / MANIFEST).read_bytes() != (weights / name / MANIFEST).read_bytes()
    ]


def _is_whole(models_dir: Path, name: str) -> bool:
    models = {model.manifest.name: model for model in Registry(models_dir, FAMILY).models()}
    return name in models and all(file.status == "ok" for file in models[name].check())
