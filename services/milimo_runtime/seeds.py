"""Seeds of generation: given, or drawn once at the edge and reported."""

from __future__ import annotations

import secrets


def draw_seed() -> int:
    """A random seed that the contract can carry, 0 to 2³² - 1."""
    return secrets.randbelow(2**32)
