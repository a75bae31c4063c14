"""The arbiter's rules in a simulated world, and in how many ways they can be broken unnoticed."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree

from milimo_arbiter.simulation import Violation, simulate
from rows import Beside, Missing, Row, measured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from session import Session

NAMES: Final = ("simulated_steps", "double_grants", "overcommitted_bytes", "mutants_caught")
_STEPS: Final = 20_000
_WORLDS: Final = 50
_FIRST_SEED: Final = 1_000
_ROOT: Final = Path(__file__).parents[2]


def measure(session: Session) -> Mapping[str, Row]:
    """The simulation stops at the first law that is broken, and then nothing can be said of the others."""
    begin = time.monotonic()
    try:
        with ProcessPoolExecutor(
            max_workers=os.cpu_count() or 1, mp_context=multiprocessing.get_context("spawn")
        ) as workers:
            steps = sum(workers.map(_world, range(_FIRST_SEED, _FIRST_SEED + _WORLDS)))
    except Violation as violation:
        broken = Missing(why=f"the simulation found a defect: {violation}")
        return dict.fromkeys(NAMES[:3], broken) | {"mutants_caught": _mutants(session)}
    rate = steps / (time.monotonic() - begin)
    return {
        "simulated_steps": measured(
            "simulated_steps", [steps], beside=Beside(what="steps per second on all cores", value=rate)
        ),
        "double_grants": measured("double_grants", [0.0]),
        "overcommitted_bytes": measured("overcommitted_bytes", [0.0]),
        "mutants_caught": _mutants(session),
    }


def _world(seed: int) -> int:
    """The steps that one world took. Raises Violation."""
    return simulate(seed, _STEPS).steps


def _mutants(session: Session) -> Row:
    """Has the test suite break one rule after the other."""
    out = session.scratch("mutants") / "junit.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={out}"]
    command += ["-k", "the_world_notices_a_broken_rule", "tests/unit/arbiter/test_mutants.py"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if not out.exists():
        return Missing(why=f"its tests did not run: {done.stdout.strip()[-200:]}")
    suites = list(ElementTree.parse(out).getroot().iter("testsuite"))
    tests, failed = (
        sum(int(suite.get(key, 0)) for suite in suites for key in keys) for keys in (("tests",), ("failures", "errors"))
    )
    return measured("mutants_caught", [float(tests - failed)], beside=Beside(what="mutants", value=tests))
