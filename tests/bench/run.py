"""Takes the figures: `python tests/bench/run.py`. Writes build/bench.json and docs/benchmarks.md."""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import calls
import chunks
import clicks
import footprints
import latency
import leases
import overhead
import progress_events
import screenplay
import simulator
import starting
import watchers
from figures import BY_NAME, FIGURES, UNMEASURED
from machine import machine
from report import number, report
from rows import Measured, Missing, Row, row_json
from session import Session, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT: Final = Path(__file__).parents[2]
_REASON_CHARACTERS: Final = 200


@dataclass(frozen=True, kw_only=True)
class Group:
    """Figures that are taken together."""

    names: Sequence[str]
    measure: Callable[[Session], Mapping[str, Row]]


# In this order: peaks of memory are read before anything but the mixed work has run.
GROUPS: Final = tuple(
    Group(names=group.NAMES, measure=group.measure)
    for group in (
        starting,
        footprints,
        latency,
        overhead,
        calls,
        watchers,
        leases,
        progress_events,
        screenplay,
        clicks,
        chunks,
        simulator,
    )
)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when everything could be measured that should; 1 when something failed."""
    options = _options(arguments)
    wanted = set(options.only) if options.only else set(BY_NAME)
    out: Path = options.out
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.parent / "bench"
    shutil.rmtree(folder, ignore_errors=True)
    rows: dict[str, Row] = {name: Missing(why=why) for name, why in UNMEASURED.items()}
    failed = False
    begin = time.monotonic()
    with Session(folder=folder, models=options.models, threads=options.threads, runs=options.runs) as session:
        for group in GROUPS:
            if not wanted.intersection(group.names):
                continue
            started = time.monotonic()
            try:
                rows |= group.measure(session)
            except Unavailable as error:
                rows |= dict.fromkeys(group.names, Missing(why=str(error)))
            except Exception as error:  # noqa: BLE001  One figure that fails must not cost all others; it is told below.
                traceback.print_exc()
                failed = True
                rows |= dict.fromkeys(group.names, Missing(why=_in_short(error)))
            for name in group.names:
                _say(name, rows[name])
            print(f"  ({time.monotonic() - started:.0f} s)", file=sys.stderr)
    left_out = Missing(why="left out of this run")
    document = {
        "machine": machine(date=datetime.datetime.now(datetime.UTC).date().isoformat(), threads=options.threads),
        "rows": {
            figure.name: row_json(rows.get(figure.name, left_out) if figure.name in wanted else left_out)
            for figure in FIGURES
        },
    }
    out.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.report is not None:
        options.report.write_text(report(document), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{out} after {time.monotonic() - begin:.0f} s", file=sys.stderr)
    return int(failed)


def _in_short(error: Exception) -> str:
    """The first line of what went wrong: the rest, logs for example, was printed."""
    lines = str(error).splitlines() or [""]
    return f"failed: {type(error).__name__}: {lines[0][:_REASON_CHARACTERS]}"


def _say(name: str, row: Row) -> None:
    if isinstance(row, Measured):
        beside = "" if row.beside is None else f"  beside it {number(row.beside.value)}: {row.beside.what}"
        text = f"{number(row.value)} {row.unit}  ({number(row.min)} – {number(row.max)}){beside}"
    else:
        text = row.why
    print(f"{name:24} {text}", file=sys.stderr, flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=sorted(BY_NAME), help="take these figures only")
    parser.add_argument("--runs", type=int, default=5, help="how often a ratio is taken (default 5)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench.json")
    parser.add_argument("--models", type=Path, default=ROOT / "var" / "models", help="folder of the tiny checkpoints")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each model (default 1)")
    parser.add_argument("--report", type=Path, help="the page to write; default: docs/benchmarks.md, unless --only")
    options = parser.parse_args(arguments)
    if options.runs < 1 or options.threads < 1:
        parser.error("--runs and --threads are at least 1")
    if options.report is None and not options.only:
        options.report = ROOT / "docs" / "benchmarks.md"
    return options


if __name__ == "__main__":
    sys.exit(main())
