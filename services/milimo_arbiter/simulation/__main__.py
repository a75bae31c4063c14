"""`python -m milimo_arbiter.simulation --seed 0 --steps 1000000`: the rules in random worlds, on all cores.

Where a law is broken, it prints the schedule that breaks it, without the troubles that it does not take.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Final

from milimo_arbiter import core
from milimo_arbiter.simulation.shrink import Failure, attempt, shrunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milimo_arbiter.simulation.world import Step

# Long enough for what needs time to go wrong; a longer run is of several worlds.
WORLD_STEPS: Final = 20_000
# What is printed of a schedule: what went wrong began not long before it showed.
_LAST: Final = 60


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
    """0 when every law held; 1 when one was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the first world; the next ones follow (default 0)")
    parser.add_argument("--steps", type=int, default=1_000_000, help=f"in worlds of {WORLD_STEPS:,} at most")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error("--steps is at least 1")
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


def _tell(failure: Failure) -> int:
    least = shrunk(failure)
    lines = schedule(least)
    if len(lines) > _LAST:
        print(f"… {len(lines) - _LAST} earlier lines")
    print(*lines[-_LAST:], sep="\n")
    print(f"\n{least.law}: {least.text}\n")
    print(f"after {least.steps} steps; it takes {', '.join(map(str, least.troubles)) or 'no trouble at all'}")
    print(f"again: make simulate SEED={failure.seed} STEPS={failure.steps}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
