"""The tiny checkpoints of a home folder: whether they are there, and having them written."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

from milimo_runtime.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

FAMILY: Final = "tiny"
# What a mesh needs at least.
PURPOSES: Final = frozenset({"video", "image", "segmentation"})


class TinyModelsFailed(RuntimeError):
    """The tiny checkpoints could not be written."""


def are_complete(models_dir: Path) -> bool:
    """Whether there is a whole tiny model for every purpose."""
    models = Registry(models_dir, FAMILY).models()
    whole = {model.manifest.purpose for model in models if all(found.status == "ok" for found in model.check())}
    return whole >= PURPOSES


def write(models_dir: Path) -> None:
    """Writes those that are missing: small random weights in the real layouts. Takes seconds; needs torch.

    Raises:
        TinyModelsFailed: with what the writer printed.
    """
    models_dir.mkdir(parents=True, exist_ok=True)
    # In a process of its own: it imports torch, which this one does without.
    command = [sys.executable, "-m", "milimo_tiny", "--out", str(models_dir)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise TinyModelsFailed(f"the tiny checkpoints could not be written:\n{done.stdout[-4000:]}")
    if not are_complete(models_dir):
        raise TinyModelsFailed(f"the writer left incomplete tiny checkpoints in {models_dir}:\n{done.stdout[-4000:]}")
