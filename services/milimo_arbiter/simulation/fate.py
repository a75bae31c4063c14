"""Chance in the simulated world: who draws what does not depend on what others draw, so that troubles can be left out.

A trouble is something that goes wrong: a message that is late, a process that dies. Each has a number among its kind.
Leaving one out changes nothing about when and how the others strike, as far as they still come to that.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


@dataclass(frozen=True, kw_only=True, order=True, slots=True)
class Trouble:
    """The occurrence of that number, from 0 on, of a kind of trouble."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"


class Fate:
    """All chance of one world, from its seed alone."""

    def __init__(self, seed: int, keep: Collection[Trouble] | None = None) -> None:
        """`keep` are the troubles that may strike; None: all."""
        self._seed = seed
        self._keep = None if keep is None else frozenset(keep)
        self._random: dict[str, random.Random] = {}
        self._numbers: dict[str, int] = {}
        # What has struck so far.
        self.struck: list[Trouble] = []

    def random(self, name: str) -> random.Random:
        """The chance of one part of the world."""
        if name not in self._random:
            self._random[name] = random.Random(f"{self._seed} {name}")  # noqa: S311  Repeatable on purpose.
        return self._random[name]

    def strikes(self, kind: str, likelihood: float = 1.0) -> bool:
        """Whether trouble of that kind strikes, on this occasion for it."""
        if likelihood < 1.0 and self.random(kind).random() >= likelihood:
            return False
        number = self._numbers.get(kind, 0)
        self._numbers[kind] = number + 1
        trouble = Trouble(kind=kind, number=number)
        if self._keep is not None and trouble not in self._keep:
            return False
        self.struck.append(trouble)
        return True
