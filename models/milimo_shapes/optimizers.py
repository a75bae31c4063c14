"""AdamW, and Muon for the matrices inside a transformer.

torch has a Muon, which multiplies in bfloat16. Without an accelerator that takes longer than all the rest of a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

_BETAS: Final = (0.9, 0.99)
_WEIGHT_DECAY: Final = 1e-4
_MOMENTUM: Final = 0.95
# Five of these polynomials a x + b x³ + c x⁵ bring all singular values near 1 (Jordan, "Muon", 2024).
_POLYNOMIAL: Final = (3.4445, -4.7750, 2.0315)
_ITERATIONS: Final = 5
# As far as AdamW usually moves a weight, so that one learning rate serves both (Liu et al., "Muon is Scalable", 2025).
_LIKE_ADAMW: Final = 0.2


class MuonAdamW(torch.optim.AdamW):
    """AdamW, and Muon for weights [m, n] of layers whose names contain `matrices`: for none, when that is None.

    Muon moves a matrix as far in directions that gradients seldom have as in those that they always have.
    """

    def __init__(
        self, named: Iterable[tuple[str, torch.nn.Parameter]], *, lr: float, matrices: str | None = None
    ) -> None:
        ours: list[torch.nn.Parameter] = []
        others: list[torch.nn.Parameter] = []
        for name, parameter in named:
            is_ours = matrices is not None and matrices in name and name.endswith(".weight") and parameter.ndim == 2
            (ours if is_ours else others).append(parameter)
        groups = [{"params": others, "has_muon": False}, {"params": ours, "has_muon": True}]
        super().__init__(
            [group for group in groups if group["params"]], lr=lr, betas=_BETAS, weight_decay=_WEIGHT_DECAY
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Moves all parameters that have gradients; those of matrices that Muon moved are gone afterwards."""
        for group in self.param_groups:
            for parameter in group["params"] if group["has_muon"] else ():
                if parameter.grad is not None:
                    self._turn(parameter, parameter.grad, group["lr"])
                    # AdamW leaves alone what has none.
                    parameter.grad = None
        return super().step(closure)

    def _turn(self, matrix: torch.Tensor, gradient: torch.Tensor, rate: float) -> None:
        state = self.state[matrix]
        if not state:
            # AdamW looks for steps in every state that it loads.
            state.update(step=torch.zeros(()), momentum=torch.zeros_like(matrix))
        state["step"] += 1
        momentum = state["momentum"].lerp_(gradient, 1.0 - _MOMENTUM)
        direction = orthogonal(gradient.lerp(momentum, _MOMENTUM))
        matrix.mul_(1.0 - rate * _WEIGHT_DECAY)
        matrix.sub_(rate * _LIKE_ADAMW * max(matrix.shape) ** 0.5 * direction)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix [m, n] with its singular values brought near 1, between 0.7 and 1.2, unless they are almost nothing.

    By Newton and Schulz's iteration, which needs products alone.
    """
    a, b, c = _POLYNOMIAL
    is_tall = matrix.shape[0] > matrix.shape[1]
    turned: torch.Tensor = matrix.T if is_tall else matrix
    turned = turned / turned.norm().clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = turned @ turned.T
        turned = a * turned + (b * gram + c * gram @ gram) @ turned
    return turned.T if is_tall else turned
