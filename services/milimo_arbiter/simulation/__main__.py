"""`python -m milimo_arbiter.simulation --seed 0 --steps 1000000`: the rules in random worlds, on all cores.

Where a law is broken, it prints the schedule that breaks it, without the troubles that it does not take.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import textwrap
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Final

from milimo_arbiter import core
from milimo_arbiter.simulation.shrink import Failure, attempt, shrunk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from milimo_arbiter.simulation.fate import Trouble
    from milimo_arbiter.simulation.world import Step

# Long enough for what needs time to go wrong; a longer run is of several worlds.
WORLD_STEPS: Final = 20_000
# Some hours on all cores.
_MOST_STEPS: Final = 1_000_000_000
# What is printed of a schedule: what went wrong began not long before it showed.
_LAST: Final = 60
# How many troubles of a kind are named.
_NAMED: Final = 8


def schedule(failure: Failure, step: Step = core.step) -> list[str]:
    """What happens in the world of a failure, a line for each thing that matters."""
    lines: list[str] = []
    attempt(
        failure.seed,
        failure.steps,
        step=step,
        keep=failure.troubles,
        chronicle=lambda now, text: lines.append(f"{now:9.3f} s  {text}"),
    )
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every law held; 1 when one was broken; 2 for what is no seed or no number of steps."""
    parser = argparse.ArgumentParser(
        prog="milimo_arbiter.simulation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    seed, steps = _whole_number(0), _whole_number(1, _MOST_STEPS)
    parser.add_argument("--seed", type=seed, default=0, help="of the first world; the next ones follow (default 0)")
    parser.add_argument("--steps", type=steps, default=1_000_000, help=f"in worlds of {WORLD_STEPS:,} at most")
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    sizes = [min(WORLD_STEPS, options.steps - done) for done in range(0, options.steps, WORLD_STEPS)]
    seeds = range(options.seed, options.seed + len(sizes))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=min(len(sizes), os.cpu_count() or 1), mp_context=spawn) as workers:
        for failure in workers.map(attempt, seeds, sizes):
            if failure is not None:
                workers.shutdown(cancel_futures=True)
                return _tell(failure)
    seconds = time.monotonic() - begin
    print(f"{options.steps:,} steps in {len(sizes)} worlds, seeds {seeds[0]} to {seeds[-1]}: every law held")
    print(f"{options.steps / seconds:,.0f} steps per second", file=sys.stderr)
    return 0


def _whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    bounds = f"a whole number, {least} or more" if most is None else f"a whole number from {least} to {most}"

    def parsed(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"{bounds} is needed, not {text[:40]!r}")
        return number

    return parsed


def _tell(failure: Failure) -> int:
    least = shrunk(failure)
    lines = schedule(least)
    if len(lines) > _LAST:
        print(f"… {len(lines) - _LAST} earlier lines")
    print(*lines[-_LAST:], sep="\n")
    print(f"\nbroken after {least.steps} steps: {least.law}: {least.text}")
    text = f"It takes {_in_groups(least.troubles) or 'no trouble at all'}."
    print(textwrap.fill(text, width=100, subsequent_indent="  "))
    print(f"The same again: make simulate SEED={failure.seed} STEPS={failure.steps}")
    return 1


def _in_groups(troubles: Sequence[Trouble]) -> str:
    """The troubles by kind: "holder 0, 2; late message 1, 4, 9 and 12 more"."""
    numbers: dict[str, list[int]] = {}
    for trouble in sorted(troubles):
        numbers.setdefault(trouble.kind, []).append(trouble.number)
    return "; ".join(
        f"{kind} {', '.join(map(str, known[:_NAMED]))}"
        + (f" and {len(known) - _NAMED} more" if len(known) > _NAMED else "")
        for kind, known in numbers.items()
    )


if __name__ == "__main__":
    sys.exit(main())
