"""Finds out which troubles it takes to break a law: delta debugging (Zeller and Hildebrandt, 2002) over them.

A world is run again and again with fewer troubles. Whoever reads the schedule of the last one that still breaks the
same law sees little else than the cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from milimo_arbiter import core
from milimo_arbiter.simulation.fate import Fate, Trouble
from milimo_arbiter.simulation.laws import Violation
from milimo_arbiter.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Collection

    from milimo_arbiter.simulation.world import Chronicle, Step


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A law is broken at the last of so many steps, in a world with these troubles."""

    seed: int
    law: str
    text: str
    steps: int
    troubles: tuple[Trouble, ...]


def attempt(
    seed: int,
    steps: int,
    *,
    step: Step = core.step,
    keep: Collection[Trouble] | None = None,
    chronicle: Chronicle | None = None,
) -> Failure | None:
    """Runs a world, with the troubles to `keep` or with all; what goes wrong in it, if anything."""
    fate = Fate(seed, keep)
    world = World(seed, step, fate=fate, chronicle=chronicle)
    try:
        world.run(steps)
    except Violation as violation:
        return Failure(
            seed=seed,
            law=violation.law,
            text=violation.text,
            steps=world.report.steps,
            troubles=tuple(fate.struck),
        )
    return None


def shrunk(failure: Failure, *, step: Step = core.step, most_steps: int = 2_000_000) -> Failure:
    """The same law broken with fewer troubles and no later, as few as can be found within so many steps of simulation.

    No trouble that is left can be left out alone, unless the search had to stop.
    """
    best, spent = failure, 0
    for kind in {trouble.kind: None for trouble in failure.troubles}:
        found = attempt(
            failure.seed, best.steps, step=step, keep=[trouble for trouble in best.troubles if trouble.kind != kind]
        )
        spent += best.steps if found is None else found.steps
        if found is not None and found.law == failure.law:
            best = found
    size = len(best.troubles) // 2
    while size >= 1:
        before, start = best, 0
        while start < len(best.troubles):
            if spent >= most_steps:
                return best
            keep = best.troubles[:start] + best.troubles[start + size :]
            found = attempt(failure.seed, best.steps, step=step, keep=keep)
            spent += best.steps if found is None else found.steps
            if found is not None and found.law == failure.law:
                best = found
            else:
                start += size
        size = size // 2 if size > 1 else int(best is not before)
    return best
