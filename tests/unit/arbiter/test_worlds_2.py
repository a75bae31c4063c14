"""The second half of a million random steps."""

from __future__ import annotations

from .worlds import check_half


def test_500_000_random_steps_hold_all_laws() -> None:
    check_half(500)
