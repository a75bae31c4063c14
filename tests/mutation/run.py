"""Breaks the arbiter's rules in every small way, and counts the ways that its tests do not notice: `make mutate`.

mutmut changes one operator, constant or argument after the other, and runs the tests of the rules that touch it until
one fails. What survives them has to survive a few short simulated worlds, too. It all happens in a copy in
`build/mutation`: the working tree stays as it is. The names of the survivors are printed, `mutmut show NAME` there
shows what was changed, and docs/arbiter-design.md says why those in `core.py` may survive.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / "build" / "mutation"
_LEAST_KILLED = 0.9
# Only for those that nothing else kills: each of these tests runs all rules many times.
_WORLDS = "tests/unit/arbiter/test_short_worlds.py"
# A world in which a mutant goes round in circles.
_ENDLESS_S = 300
_CONFIGURATION = """
[tool.pytest.ini_options]
addopts = "-m 'not soak' --import-mode=importlib -p no:cacheprovider"
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
markers = ["soak: not here"]

[tool.mutmut]
source_paths = ["milimo_arbiter"]
only_mutate = [{modules}]
pytest_add_cli_args_test_selection = ["tests/unit/arbiter", "--ignore={worlds}"]
"""
# The copy comes before what is installed: the tests run in the folder that mutmut has made of it.
_CONFTEST = """
import sys
from pathlib import Path

sys.path.insert(0, str(Path.cwd()))
"""
# They take long, or try the edges of the arbiter and not its rules.
_LEFT_OUT = ("test_simulation.py", "test_mutants.py", "mutants", "test_worlds*.py", "test_edges.py", "test_metrics.py")


def _copy(modules: list[str]) -> None:
    shutil.rmtree(_FOLDER, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", *_LEFT_OUT)
    shutil.copytree(_ROOT / "services/milimo_arbiter", _FOLDER / "milimo_arbiter", ignore=ignored)
    shutil.copytree(_ROOT / "tests/unit/arbiter", _FOLDER / "tests/unit/arbiter", ignore=ignored)
    names = ", ".join(f'"milimo_arbiter/{module}.py"' for module in modules)
    (_FOLDER / "tests/unit/arbiter/conftest.py").write_text(_CONFTEST)
    (_FOLDER / "pyproject.toml").write_text(_CONFIGURATION.format(modules=names, worlds=_WORLDS))


def _survives_worlds(mutant: str) -> bool:
    try:
        tests = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "--rootdir=.", _WORLDS],
            cwd=_FOLDER / "mutants",
            env={**os.environ, "MUTANT_UNDER_TEST": mutant},
            stdout=subprocess.DEVNULL,
            timeout=_ENDLESS_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return tests.returncode == 0


def main() -> int:
    """0 when enough of the mutants were killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", default=["core"], help="of services/milimo_arbiter (default core)")
    modules = parser.parse_args().modules
    unknown = [module for module in modules if not (_ROOT / "services/milimo_arbiter" / f"{module}.py").is_file()]
    if unknown:
        parser.error(f"services/milimo_arbiter has no {unknown[0]}.py")
    _copy(modules)
    mutmut = [sys.executable, "-m", "mutmut"]
    os.nice(10)
    cores = os.cpu_count() or 1
    subprocess.run([*mutmut, "run", "--max-children", str(cores)], cwd=_FOLDER, check=True)
    subprocess.run([*mutmut, "export-cicd-stats"], cwd=_FOLDER, check=True, stdout=subprocess.DEVNULL)
    results = subprocess.run([*mutmut, "results"], cwd=_FOLDER, check=True, capture_output=True, text=True).stdout
    left = re.findall(r"^ *(\S+): (?!killed|timeout|skipped)", results, re.MULTILINE)
    with ThreadPoolExecutor(cores) as judges:
        survivors = [
            mutant for mutant, survives in zip(left, judges.map(_survives_worlds, left), strict=True) if survives
        ]
    stats = json.loads((_FOLDER / "mutants" / "mutmut-cicd-stats.json").read_text())
    total = stats["total"] - stats["skipped"]
    killed = total - len(survivors)
    print(*survivors, sep="\n")
    print(f"{', '.join(modules)}: {killed} of {total} mutants killed, {killed / total:.1%}; ", end="")
    print(f"{len(left) - len(survivors)} of them by simulated worlds alone")
    return 0 if killed >= _LEAST_KILLED * total else 1


if __name__ == "__main__":
    sys.exit(main())
