"""Muon beside AdamW: which weights it moves, how far, and that both go on from a state on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from milimo_shapes.checkpoints import load_state, save_state
from milimo_shapes.optimizers import MuonAdamW, orthogonal

if TYPE_CHECKING:
    from pathlib import Path


def _model() -> torch.nn.ModuleDict:
    torch.manual_seed(0)
    return torch.nn.ModuleDict({"blocks": torch.nn.Linear(6, 4), "head": torch.nn.Linear(4, 2)})


def _learn(model: torch.nn.ModuleDict, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        x = torch.randn(8, 6, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model["head"](model["blocks"](x)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("shape", [(48, 48), (32, 96), (96, 32)])
def test_singular_values_are_brought_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    left, right = (torch.linalg.qr(torch.randn(size, min(shape)))[0] for size in shape)
    matrix = left @ torch.diag(torch.logspace(-2, 1, min(shape))) @ right.T
    turned = orthogonal(matrix)
    assert turned.shape == shape
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    gains = torch.diag(u.T @ turned @ v.T)
    # What is a hundredth of the largest counts as much; directions stay.
    assert float(gains[values > 0.1].min()) > 0.6
    assert float(gains.max()) < 1.3
    torch.testing.assert_close(u.T @ turned @ v.T, torch.diag(gains), atol=1e-3, rtol=0.0)


def test_muon_moves_the_named_matrices_alone() -> None:
    mixed, plain = _model(), _model()
    before = mixed["blocks"].weight.detach().clone()
    _learn(mixed, MuonAdamW(mixed.named_parameters(), lr=0.01, matrices="blocks"), 1)
    _learn(plain, torch.optim.AdamW(plain.parameters(), lr=0.01, betas=(0.9, 0.99), weight_decay=1e-4), 1)
    for name, parameter in plain.named_parameters():
        assert torch.equal(mixed.get_parameter(name), parameter) == (name != "blocks.weight")
    moved = torch.linalg.svdvals(mixed["blocks"].weight.detach() - before)
    # As far in each direction that the gradient has: two, as the head has.
    assert moved[:2].tolist() == pytest.approx([0.01 * 0.2 * 6**0.5] * 2, rel=0.4)
    assert float(moved[2:].max()) < 0.01 * float(moved[0])


def test_without_names_all_is_adamw() -> None:
    ours, plain = _model(), _model()
    _learn(ours, MuonAdamW(ours.named_parameters(), lr=0.01), 3)
    _learn(plain, torch.optim.AdamW(plain.parameters(), lr=0.01, betas=(0.9, 0.99), weight_decay=1e-4), 3)
    assert all(torch.equal(ours.get_parameter(name), parameter) for name, parameter in plain.named_parameters())


def test_it_goes_on_from_a_state(tmp_path: Path) -> None:
    whole, again = _model(), _model()
    first, second = (MuonAdamW(each.named_parameters(), lr=0.01, matrices="blocks") for each in (whole, again))
    _learn(whole, first, 3)
    save_state(tmp_path / "state", whole, whole, first, {"step": 3})
    assert load_state(tmp_path / "state", again, again, second) == {"step": 3}
    _learn(whole, first, 2)
    _learn(again, second, 2)
    assert all(torch.equal(again.get_parameter(name), parameter) for name, parameter in whole.named_parameters())
