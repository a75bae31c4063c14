"""The small families that come with Milimo, in a models' directory: whether they are there, and putting them there."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from milimo_runtime.registry import Registry
from milimo_shapes import shipped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

TINY: Final = "tiny"
SHAPES: Final = shipped.FAMILY
# What a mesh needs at least.
_PURPOSES: Final = frozenset({"video", "image", "segmentation"})


class InstallFailed(RuntimeError):
    """A small family could not be written."""


@dataclass(frozen=True, kw_only=True)
class SmallFamily:
    """How it is written below a models' directory, and whether it is there."""

    command: tuple[str, ...]
    is_complete: Callable[[Path], bool]


def _has_every_purpose(models_dir: Path) -> bool:
    models = Registry(models_dir, TINY).models()
    return {model.manifest.purpose for model in models if model.is_complete} >= _PURPOSES


FAMILIES: Final[Mapping[str, SmallFamily]] = {
    SHAPES: SmallFamily(
        command=("milimo_shapes", "install", "--models"),
        is_complete=shipped.is_current,
    ),
    TINY: SmallFamily(
        command=("milimo_tiny", "--out"),
        is_complete=_has_every_purpose,
    ),
}


def needs_install(models_dir: Path, family: str) -> bool:
    """Whether it is a small family, and not all of it is there."""
    return family in FAMILIES and not FAMILIES[family].is_complete(models_dir)


def install(models_dir: Path, family: str) -> None:
    """Writes what is missing of one of `FAMILIES`. Takes seconds; needs torch.

    Raises:
        InstallFailed: with what the writer printed.
    """
    models_dir.mkdir(parents=True, exist_ok=True)
    # In a process of its own: it imports torch, which this one does without.
    command = [sys.executable, "-m", *FAMILIES[family].command, str(models_dir)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise InstallFailed(f"the {family} models could not be written:\n{done.stdout[-4000:]}")
    if needs_install(models_dir, family):
        raise InstallFailed(f"the writer left incomplete {family} models in {models_dir}:\n{done.stdout[-4000:]}")
