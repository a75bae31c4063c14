"""Judges what the shapes family makes of held-out captions and seeds, and reports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo_shapes.findings import REPORT, write_report
from milimo_shapes.image_trials import image_trials
from milimo_shapes.shipped import IMAGE, VIDEO
from milimo_shapes.video_trials import video_trials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def evaluate_family(weights: Path, docs: Path, *, share: float) -> Iterator[str]:
    """Runs every trial with that share of its prompts, writes the report to `docs`, and yields the findings.

    Raises `SystemExit` at the end when a finding is not what it shall be.
    """
    trials = []
    for run, name in ((image_trials, IMAGE), (video_trials, VIDEO)):
        for trial in run(weights / name, share):
            trials.append(trial)
            yield from map(str, trial.findings)
    write_report(docs, trials)
    missed = sum(not finding.is_met for trial in trials for finding in trial.findings)
    if missed:
        raise SystemExit(f"{missed} findings are not what they shall be: see {docs / REPORT}")
