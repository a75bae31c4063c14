"""Rule 2.9 of `milimo_arbiter.core`: measured peaks replace what was configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from milimo_arbiter import effects, events
from milimo_arbiter.learning import PEAKS
from milimo_arbiter.state import Peak, Workload
from milimo_arbiter.store import LeaseStore

from .scene import Scene

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Workload(model="ltx2", width=64, height=64, frames=9)
LARGE = Workload(model="ltx2", width=128, height=64, frames=9)


def taught(*peaks: int, workload: Workload | None = SMALL) -> Scene:
    """After turns of one lease that were measured to use so much."""
    scene = Scene().acquire(1, "video", 50, workload=workload)
    for peak in peaks:
        scene.do(events.Idle(stream=1, peak=peak))
    return scene.do(events.Release(stream=1))


PEAKS_SEEN: dict[str, tuple[tuple[int, ...], int]] = {
    "nobody measured": ((0,), 50),
    "less than configured, and a margin": ((20,), 21),
    "more than configured": ((60,), 63),
    "a higher one counts at once": ((20, 40), 42),
    "a lower one pulls half way down": ((40, 20), 32),
    "what is more than there is, is no measurement": ((40, 111), 42),
    "the margin stays within the budget": ((99,), 100),
}


@pytest.mark.parametrize(("peaks", "granted"), PEAKS_SEEN.values(), ids=PEAKS_SEEN)
def test_2_9_the_next_request_for_the_same_is_granted_what_was_measured(peaks: tuple[int, ...], granted: int) -> None:
    assert taught(*peaks).acquire(2, "other", 50, workload=SMALL).lease("other").bytes == granted


@pytest.mark.parametrize("workload", [None, LARGE])
def test_2_9_other_work_is_not_changed(workload: Workload | None) -> None:
    assert taught(20).acquire(2, "other", 50, workload=workload).lease("other").bytes == 50


@pytest.mark.parametrize("workload", [None, Workload(model="")])
def test_2_9_nothing_is_learned_of_what_has_no_name(workload: Workload | None) -> None:
    assert taught(20, workload=workload).state.peaks == {}


def test_2_9_a_peak_belongs_to_the_turn_that_ends() -> None:
    scene = Scene().acquire(1, "video", 50, workload=SMALL)
    scene.do(events.Busy(stream=1, job_id="second", waiting_jobs=0, peak=20, workload=LARGE))
    scene.do(events.Release(stream=1, peak=30))
    assert scene.state.peaks == {(SMALL, "g0"): 20, (LARGE, "g0"): 30}


def test_2_9_the_latest_are_kept() -> None:
    scene = Scene().acquire(1, "video", 50)
    for frames in range(PEAKS + 2):
        workload = Workload(model="m", frames=frames)
        scene.do(events.Busy(stream=1, job_id="j", waiting_jobs=0, workload=workload))
        scene.do(events.Idle(stream=1, peak=5))
    assert len(scene.state.peaks) == PEAKS
    assert next(iter(scene.state.peaks)) == (Workload(model="m", frames=2), "g0")


def test_peaks_come_back_from_the_record_oldest_first(tmp_path: Path) -> None:
    path = tmp_path / "arbiter.sqlite"
    store = LeaseStore(path)
    store.load(now=0.0, wall=0.0, boot_id="boot")
    for size, workload in ((1, SMALL), (2, LARGE), (3, SMALL)):
        store.apply([effects.Learn(peak=Peak(workload=workload, footprint="g0", bytes=size))], now=0.0, wall=0.0)
    store.close()
    store = LeaseStore(path)
    peaks = store.load(now=0.0, wall=0.0, boot_id="next boot").peaks
    store.close()
    assert list(peaks.items()) == [((LARGE, "g0"), 2), ((SMALL, "g0"), 3)]
