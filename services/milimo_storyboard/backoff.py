"""How long to rest before something that failed is tried again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Backoff:
    """Rests that double from `first` to `most` seconds, each shortened by chance: those who fail together part ways."""

    def __init__(self, *, first: float, most: float, chance: Callable[[], float]) -> None:
        """`chance` draws from [0, 1)."""
        self._first = first
        self._most = most
        self._chance = chance
        self._next = first

    def reset(self) -> None:
        """It works again."""
        self._next = self._first

    def draw(self) -> float:
        """The seconds of the next rest: between half of its step and the whole."""
        step = self._next
        self._next = min(self._most, 2 * step)
        return step * (0.5 + self._chance() / 2)

    async def rest(self) -> None:
        """Waits so long."""
        await asyncio.sleep(self.draw())
