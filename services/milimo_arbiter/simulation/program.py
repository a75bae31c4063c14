"""A program in the simulated world that is no tenant: loads when it likes, and gives everything back when asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from milimo_arbiter.events import ExternalSeen
from milimo_arbiter.state import External

if TYPE_CHECKING:
    from collections.abc import Callable

    from milimo_arbiter.events import Event
    from milimo_arbiter.simulation.fate import Fate

_LOOK_S: Final = 1.0


class Program:
    """Holds memory of one device."""

    def __init__(
        self,
        device: str,
        *,
        fate: Fate,
        after: Callable[[float, Callable[[], None]], None],
        happen: Callable[[Event], None],
    ) -> None:
        """`after` does something later; `happen` tells the arbiter, if it is there."""
        self.name = "ollama"
        self.device = device
        self.bytes = 0
        self._fate = fate
        self._chance = fate.random("program")
        # What it holds was never known.
        self._unknown = True
        self._after = after
        self._happen = happen
        self._load()
        self._look()

    def seen(self) -> External:
        """As an arbiter finds it that starts now."""
        self._unknown = True
        return External(name=self.name, device=self.device, bytes=self._said())

    def _said(self) -> int | None:
        self._unknown = self._unknown and self._fate.strikes("unknown program", 0.6)
        return None if self._unknown else self.bytes

    def evict(self) -> None:
        """Finishes what it does, and unloads."""
        self._after(self._chance.uniform(0.05, 3.0), self._unload)

    def _load(self) -> None:
        self.bytes = self.bytes or self._chance.randint(20, 90)
        self._after(self._chance.expovariate(1 / 60), self._load)

    def _unload(self) -> None:
        self.bytes = 0

    def _look(self) -> None:
        """What it says now arrives a moment later."""
        seen = ExternalSeen(
            name=self.name, device=self.device, bytes=self._said(), busy=self._chance.random() < 0.3, problem=""
        )
        self._after(self._chance.uniform(0.001, 0.2), lambda: self._happen(seen))
        self._after(_LOOK_S, self._look)
