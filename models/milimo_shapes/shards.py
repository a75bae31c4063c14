"""Numbered examples on the disk, a file for so many of them: FOLDER/NAME-000000.safetensors, each whole or not there.

FOLDER/statistics.safetensors tells which autoencoder encoded them: another one's are removed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_STATISTICS = "statistics.safetensors"


def open_folder(folder: Path, statistics: Mapping[str, torch.Tensor]) -> None:
    """Makes the folder, and empties it unless its examples were encoded by the autoencoder with these statistics."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _STATISTICS
    ours = {name: tensor.float().cpu().contiguous() for name, tensor in statistics.items()}
    if path.exists():
        theirs = load_file(path)
        if theirs.keys() == ours.keys() and all(torch.equal(theirs[name], ours[name]) for name in ours):
            return
        for shard in folder.glob("*-*.safetensors"):
            shard.unlink()
    save_file(ours, path)


def load_statistics(folder: Path) -> dict[str, torch.Tensor]:
    """What `open_folder` wrote. Raises `FileNotFoundError` when there is nothing."""
    return load_file(folder / _STATISTICS)


def paths_of(folder: Path, name: str) -> list[Path]:
    """The shards of that name, in order."""
    return sorted(folder.glob(f"{name}-[0-9]*.safetensors"))


def load(path: Path) -> tuple[int, dict[str, torch.Tensor]]:
    """The seed of a shard, and its tensors."""
    with safe_open(path, framework="pt") as file:
        seed = int(file.metadata()["seed"])
    return seed, load_file(path)


def fill(
    folder: Path,
    name: str,
    encode: Callable[[range], dict[str, torch.Tensor]],
    *,
    seed: int,
    count: int,
    each: int,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Encodes the first `count` examples where the folder lacks them, `each` to a shard, until the time is over.

    Returns how many there are, all counted. A shard's metadata hold the seed.
    """
    began = clock()
    for shard in range(count // each):
        path = folder / f"{name}-{shard:06d}.safetensors"
        if path.exists():
            continue
        if clock() - began > seconds:
            return shard * each
        partial = path.with_suffix(".partial")
        save_file(encode(range(shard * each, (shard + 1) * each)), partial, metadata={"seed": str(seed)})
        partial.rename(path)
    return count // each * each
