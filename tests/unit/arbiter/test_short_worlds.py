"""The rules in a few short worlds: enough for those who change a line of them."""

from __future__ import annotations

import pytest
from milimo_arbiter.simulation import simulate


@pytest.mark.parametrize("seed", range(8))
def test_a_short_world_holds_all_laws(seed: int) -> None:
    assert simulate(seed, 800).steps == 800
