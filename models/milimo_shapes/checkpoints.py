"""The state of a training on the disk: weights, their moving average and the optimiser, without pickle, whole or not.

FOLDER/model.safetensors, average.safetensors, optimizer.safetensors, state.json
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from pathlib import Path


def save_state(
    folder: Path,
    model: torch.nn.Module,
    average: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    facts: dict[str, Any],
) -> None:
    """Writes the state to `folder` in place of what is there. `facts` are kept as JSON."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(_contiguous(model), partial / "model.safetensors")
    save_file(_contiguous(average), partial / "average.safetensors")
    tensors = {
        f"{index}.{name}": value.contiguous()
        for index, entries in optimizer.state_dict()["state"].items()
        for name, value in entries.items()
    }
    save_file(tensors, partial / "optimizer.safetensors")
    (partial / "state.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def load_state(
    folder: Path, model: torch.nn.Module, average: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Brings back what `save_state` wrote and returns the facts; None when there is nothing."""
    if not (folder / "state.json").is_file():
        return None
    model.load_state_dict(load_file(folder / "model.safetensors"))
    average.load_state_dict(load_file(folder / "average.safetensors"))
    states: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in load_file(folder / "optimizer.safetensors").items():
        index, name = key.split(".", 1)
        states.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    facts: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return facts


def _contiguous(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
