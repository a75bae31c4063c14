"""How well the end of a video is foretold, on time of the processor, which nobody else on the machine can take."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from milimo_runtime.observer import Silent
from milimo_runtime.progress import Stage, StageProgress, StageSpeeds
from milimo_video.plan import plan_video

from .test_chained import whole
from .tiny import SMALL, run

if TYPE_CHECKING:
    from pathlib import Path

    from milimo_runtime.progress import Reached
    from milimo_video.models import VideoModels
    from milimo_video.plan import VideoPlan


@dataclass
class Clock(Silent):
    """Writes down when the engine reports what: a stage that begins, or steps of it."""

    seen: list[tuple[float, str, int]] = field(default_factory=list)

    def begin(self, stage: str, steps: int) -> None:
        self.seen.append((time.process_time(), stage, steps))

    def advance(self, steps: int = 1) -> None:
        self.seen.append((time.process_time(), "", steps))


def told(plan: VideoPlan, clock: Clock, speeds: StageSpeeds) -> list[tuple[float, Reached]]:
    """Seconds that were left, and what the watchers heard, at each report."""
    stages = [Stage(name=stage.name, steps=stage.steps, cost=stage.step_cost) for stage in plan.stages]
    progress = StageProgress(stages, speeds)
    end = clock.seen[-1][0]
    return [
        (end - at, progress.begin(stage, steps, at) if stage else progress.advance(steps, at))
        for at, stage, steps in clock.seen
    ]


@pytest.mark.parametrize("chained", [False, True], ids=["one chunk", "three chunks"])
def test_the_eta_is_within_thirty_percent_from_half_way_on(
    models: VideoModels, tmp_path: Path, *, chained: bool
) -> None:
    """Once a process is warm and has made videos: of another one of another length."""
    speeds = StageSpeeds()
    first = replace(SMALL, num_frames=105 if chained else 89)
    second = replace(first, seed=12, num_frames=97 if chained else 113)
    for request in (first, first, second):
        clock = Clock()
        if chained:
            plan = plan_video(request, "distilled", chunk_frames=49)
            folder = tmp_path / str(request.num_frames)
            whole(models, request, folder, clock, chunk_frames=49)
        else:
            plan = plan_video(request, "distilled")
            run(models, request, tmp_path / "video.mp4", observer=clock)
        heard = told(plan, clock, speeds)
        fractions = [reached.fraction for _, reached in heard]
        assert fractions == sorted(fractions)
        assert fractions[-1] == pytest.approx(1.0)
        names = [name for _, name, _ in clock.seen if name]
        assert names == [stage.name for stage in plan.stages]
        assert len(set(names)) == len(names)
    total = heard[0][0]
    late = [(left, reached.eta_s) for left, reached in heard if left <= total / 2 and left > 0]
    assert len(late) > 5
    for left, eta in late:
        assert eta is not None
        # Near the end, a third of it or less, it is a matter of single steps.
        assert abs(eta - left) <= max(0.3 * left, 0.1 * total), (left, eta)
