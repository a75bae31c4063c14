"""The training loop that all components share: seeded, resumable, with curves as CSV.

A run of the same seed and steps gives the same weights on the same machine, interrupted or not: every step draws its
data and its noise by its number.

OUT/curve.csv      a line every few steps: step, seconds, learning rate, losses
OUT/held_out.csv   a line per evaluation
OUT/state/         what a later run goes on from
OUT/weights/       the component as the services load it, of the averaged weights
"""

from __future__ import annotations

import csv
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from milimo_shapes.checkpoints import load_state, save_state
from milimo_shapes.optimizers import MuonAdamW

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

_AVERAGE_DECAY: Final = 0.995
_LOG_EVERY: Final = 20
_SAVE_SECONDS: Final = 180.0
_CLIP_NORM: Final = 1.0


class Component(Protocol):
    """Something to train."""

    @property
    def name(self) -> str:
        """As the command line calls it."""
        ...

    @property
    def steps(self) -> int:
        """How many make a whole training; in the last fifth the learning rate falls to nothing."""
        ...

    @property
    def learning_rate(self) -> float:
        """The highest."""
        ...

    @property
    def muon(self) -> str | None:
        """Part of the names of matrices that Muon moves in place of AdamW."""
        ...

    @property
    def evaluate_every(self) -> int:
        """Steps between evaluations."""
        ...

    def build(self) -> torch.nn.Module:
        """A new model, with weights from torch's generator as it stands."""
        ...

    def losses(self, model: torch.nn.Module, seed: int, step: int, device: torch.device) -> dict[str, torch.Tensor]:
        """The losses of a step; "loss" is the one to be made smaller."""
        ...

    def evaluate(self, model: torch.nn.Module, device: torch.device, pictures: Path) -> dict[str, float]:
        """Figures on scenes that no step draws; contact sheets go to `pictures`."""
        ...

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Writes the component as the services load it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a component is trained: until its steps are done or the time is over."""

    out: Path
    seed: int
    seconds: float
    # In place of the component's own number.
    steps: int | None = None


def train(component: Component, run: Run, device: torch.device, clock: Callable[[], float] = time.monotonic) -> int:
    """Trains, or goes on with what `run.out` holds. Returns the number of steps done so far."""
    run.out.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(run.seed)
        model = component.build().to(device)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(_AVERAGE_DECAY))
    optimizer = MuonAdamW(model.named_parameters(), lr=component.learning_rate, matrices=component.muon)
    facts = load_state(run.out / "state", model, average, optimizer) or {"step": 0, "seconds": 0.0}
    step, earlier = int(facts["step"]), float(facts["seconds"])
    total = run.steps or component.steps
    began = saved = clock()
    if step >= total and (run.out / "weights").is_dir():
        # Written again they might differ in the last bit, and what was encoded with them would be encoded again.
        return step

    def keep() -> None:
        spent = earlier + clock() - began
        save_state(
            run.out / "state", model, average, optimizer, {"component": component.name, "step": step, "seconds": spent}
        )

    while step < total and clock() - began < run.seconds:
        rate = component.learning_rate * _schedule(step, total)
        for group in optimizer.param_groups:
            group["lr"] = rate
        model.train()
        torch.manual_seed(hash((run.seed, step)) & 0x7FFFFFFF)
        losses = component.losses(model, run.seed, step, device)
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP_NORM)
        optimizer.step()
        average.update_parameters(model)
        step += 1
        if step % _LOG_EVERY == 0:
            values = {name: float(loss.detach()) for name, loss in losses.items()}
            spent = earlier + clock() - began
            _append(
                run.out / "curve.csv", {"step": step, "seconds": spent, "rate": rate, "norm": float(norm), **values}
            )
        if step % component.evaluate_every == 0 or step == total:
            _evaluate(component, average, run, step, earlier + clock() - began, device)
        if clock() - saved > _SAVE_SECONDS:
            keep()
            saved = clock()
    keep()
    component.save(average.module, run.out / "weights")
    return step


def _evaluate(
    component: Component, average: AveragedModel, run: Run, step: int, seconds: float, device: torch.device
) -> None:
    average.eval()
    with torch.no_grad():
        figures = component.evaluate(average.module, device, run.out / "pictures" / f"{step:06d}")
    log.info("step %d: %s", step, ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    _append(run.out / "held_out.csv", {"step": step, "seconds": seconds, **figures})


def _schedule(step: int, total: int) -> float:
    """Up within 50 steps, level, and down to nothing in the last fifth."""
    return min(1.0, (step + 1) / 50, max((total - step) / (total / 5), 0.0))


def _append(path: Path, row: Mapping[str, float]) -> None:
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(row)
        writer.writerow([f"{value:.6g}" for value in row.values()])
