"""Rules 2.10 and 8 of `milimo_arbiter.core`: how long turns take, and when who waits will be served."""

from __future__ import annotations

from dataclasses import replace

import pytest
from milimo_arbiter import events
from milimo_arbiter.forecast import is_noticeable
from milimo_arbiter.learning import LENGTHS
from milimo_arbiter.state import Footprint, Request, Workload

from .scene import POLICY, Scene, restart, resume

SMALL = Workload(model="ltx2", width=64, height=64, frames=9)
LARGE = Workload(model="ltx2", width=128, height=64, frames=9)


def quick() -> Scene:
    """An arbiter for which a copy over the bus takes no time, and a load a second for each 10 bytes."""
    scene = Scene()
    scene.state = replace(scene.state, policy=replace(POLICY, bus_bytes_per_s=1e12, reload_bytes_per_s=10.0))
    return scene


def turn(scene: Scene, stream: int, seconds: float, *, waiting: int = 0, workload: Workload | None = None) -> Scene:
    """A whole turn of a holder, which keeps its lease."""
    scene.do(events.Busy(stream=stream, job_id=f"job at {scene.now}", waiting_jobs=waiting, workload=workload))
    return scene.do(events.Idle(stream=stream), scene.now + seconds)


def eta(scene: Scene, stream: int) -> float | None:
    """What the stream was told last in this step."""
    told = scene.queued(stream)[-1].eta_s
    return None if told is None else round(told, 6)


def expected(scene: Scene, stream: int) -> float | None:
    """Seconds from now until the time that it was told last."""
    time = scene.state.waiters[stream].told_time
    return None if time is None else round(time - scene.now, 6)


# 2.10: lengths


def test_2_10_the_latest_turn_counts_a_quarter() -> None:
    scene = turn(turn(Scene().hold(1, "video", 60, idle=True), 1, 4.0), 1, 7.9)
    # The first turn of all, which the grant began, took no time.
    assert scene.state.lengths[("video", None)] == pytest.approx(0.75 * (0.25 * 4.0) + 0.25 * 7.9)


def test_2_10_a_workload_has_its_own_length_and_the_tenant_one_for_all_others() -> None:
    scene = Scene().acquire(1, "video", 60, workload=SMALL).beat(1)
    scene.do(events.Busy(stream=1, job_id="second", waiting_jobs=0, workload=LARGE), 2.0)
    scene.do(events.Release(stream=1), 10.0)
    assert scene.state.lengths == {
        ("video", SMALL): 2.0,
        ("video", LARGE): 8.0,
        ("video", None): 2.0 + (8.0 - 2.0) / 4,
    }


def test_2_10_the_load_that_the_first_turn_begins_with_is_not_counted() -> None:
    asked = Request(tenant="video", footprints=(Footprint(name="g", bytes=60, load_seconds=3.0),), job_id="j")
    scene = Scene().do(events.Acquire(stream=1, request=asked)).beat(1).do(events.Idle(stream=1), 5.0)
    assert scene.state.lengths == {("video", None): 2.0}
    assert turn(scene, 1, 2.0).state.lengths == {("video", None): 2.0}


def test_2_10_the_same_turn_told_again_and_one_from_before_a_restart_teach_nothing() -> None:
    scene = Scene().hold(1, "video", 60, pid=1)
    scene.do(events.Busy(stream=1, job_id="job of video", waiting_jobs=3), 2.0)
    assert scene.state.lengths == {}
    restart(scene, 3.0).do(resume("video", 2, 1), 4.0)
    scene.do(events.Busy(stream=2, job_id="job of video", waiting_jobs=0)).do(events.Idle(stream=2), 5.0)
    assert scene.state.lengths == {}
    assert turn(scene, 2, 1.0).state.lengths == {("video", None): 1.0}


def test_2_10_an_offer_and_a_lost_lease_teach_nothing() -> None:
    scene = Scene().hold(1, "video", 60).acquire(2, "image", 60).do(events.Release(stream=1), 1.0)
    scene.do(events.Release(stream=2), 2.0)
    scene.hold(3, "sam", 60).do(events.Revoke(lease_id="a-0-3", reason="")).do(events.Release(stream=3), 5.0)
    assert scene.state.lengths.keys() == {("video", None)}


def test_2_10_the_latest_are_kept() -> None:
    scene = Scene().hold(1, "video", 50, idle=True)
    for frames in range(LENGTHS + 1):
        turn(scene, 1, 0.0, workload=Workload(model="m", frames=frames))
    assert len(scene.state.lengths) == LENGTHS
    assert ("video", None) in scene.state.lengths
    assert ("video", Workload(model="m", frames=1)) not in scene.state.lengths


# 8: when


def test_8_nothing_is_told_while_nothing_is_known() -> None:
    scene = quick().hold(1, "video", 60, min_hold_s=5.0).acquire(2, "image", 50)
    assert eta(scene, 2) is None, "it may not be asked yet, and nobody knows how long its turns take"
    assert restart(Scene().hold(1, "video", 60, pid=1), 1.0).acquire(3, "image", 50).queued(3)[0].eta_s is None


def test_8_an_idle_holder_leaves_at_once_and_a_copy_takes_its_time() -> None:
    scene = Scene()
    scene.state = replace(scene.state, policy=replace(POLICY, bus_bytes_per_s=20.0))
    assert eta(scene.hold(1, "video", 60, idle=True).acquire(2, "image", 50), 2) == 3.0


def test_8_a_copy_that_takes_too_long_ends_with_the_deadline() -> None:
    scene = Scene()
    scene.state = replace(scene.state, policy=replace(POLICY, bus_bytes_per_s=1.0))
    assert eta(scene.hold(1, "video", 60, idle=True).acquire(2, "image", 50), 2) == POLICY.idle_deadline_s


def test_8_a_busy_holder_that_was_asked_leaves_at_its_deadline_or_as_its_turns_end() -> None:
    unknown = quick().hold(1, "video", 60).acquire(2, "image", 50)
    assert eta(unknown, 2) == POLICY.busy_deadline_s
    scene = quick().hold(1, "video", 60).beat(1, at=5.0)
    scene.state = replace(scene.state, lengths={("video", None): 20.0})
    assert eta(scene.acquire(2, "image", 50), 2) == 15.0


def busy(scene: Scene, *, length: float, waiting: int = 0, min_hold_s: float = 0.0) -> Scene:
    """A holder of 60 bytes whose turns take so long, 2 seconds into the first; nobody has timed its load."""
    scene.state = replace(scene.state, lengths={("video", None): length})
    scene.hold(1, "video", 60, min_hold_s=min_hold_s)
    scene.do(events.Busy(stream=1, job_id="job of video", waiting_jobs=waiting))
    return scene.acquire(2, "image", 50, at=scene.now + 2.0)


# Length of its turns, jobs that wait behind, its minimum hold; expected seconds. Turns in a batch: 2, seconds: 30.
HELD: dict[str, tuple[float, int, float, float]] = {
    "its turn": (10.0, 0, 0.0, 8.0),
    "its minimum hold is longer": (10.0, 0, 30.0, 28.0),
    "its minimum hold is shorter": (10.0, 0, 5.0, 8.0),
    "one more turn of its batch": (10.0, 1, 0.0, 18.0),
    "no more turns than a batch has": (10.0, 9, 0.0, 28.0),
    "no longer than a batch takes": (14.0, 9, 0.0, 30.0),
    "a turn that is longer than its batch": (50.0, 9, 0.0, 48.0),
    "a turn that is longer than the deadline": (500.0, 0, 0.0, 120.0),
    "a batch that ends by its deadline": (500.0, 9, 0.0, 150.0),
    "it has lasted for twice as long already": (1.0, 0, 0.0, 1.0),
}


@pytest.mark.parametrize(("length", "waiting", "hold", "seconds"), HELD.values(), ids=HELD)
def test_8_a_busy_holder_leaves_when_it_may_be_asked_and_has_had_its_turn(
    length: float, waiting: int, hold: float, seconds: float
) -> None:
    assert eta(busy(quick(), length=length, waiting=waiting, min_hold_s=hold), 2) == seconds


def test_8_turns_that_were_begun_are_not_waited_for_again() -> None:
    scene = busy(quick(), length=10.0, waiting=9)
    scene.do(events.Busy(stream=1, job_id="second", waiting_jobs=9), 10.0)
    # The second of three turns has begun, and its length is a little less than it was.
    assert expected(scene, 2) == pytest.approx(20.0, abs=5.0)


def test_8_the_first_turn_begins_with_its_load() -> None:
    scene = quick()
    scene.state = replace(scene.state, lengths={("video", None): 10.0})
    asked = Request(tenant="video", footprints=(Footprint(name="g", bytes=60, load_seconds=7.0),), job_id="j")
    scene.do(events.Acquire(stream=1, request=asked)).beat(1)
    assert eta(scene.acquire(2, "image", 50), 2) == 17.0


def test_8_released_memory_is_there_at_once() -> None:
    scene = quick().with_driver().hold(1, "video", 60, pid=1).acquire(2, "image", 50).do(events.Release(stream=1), 1.0)
    assert eta(scene, 2) == 0.0


@pytest.mark.parametrize(("size", "seconds"), [(50, 1.0), (100, 60.0)])
def test_8_a_program_takes_as_long_as_a_copy_or_its_deadline_while_it_works(size: int, seconds: float) -> None:
    scene = Scene()
    scene.state = replace(scene.state, policy=replace(POLICY, bus_bytes_per_s=50.0))
    scene.do(events.ExternalSeen(name="ollama", device="a:0", bytes=size, busy=size == 100))
    assert eta(scene.acquire(1, "video", 90), 1) == seconds


def test_8_who_is_behind_waits_for_the_load_and_the_turn_or_the_hold_of_those_ahead() -> None:
    scene = busy(quick(), length=10.0)
    scene.state = replace(scene.state, lengths={**scene.state.lengths, ("sam", SMALL): 9.0})
    scene.do(events.StreamEnded(stream=2))
    scene.acquire(3, "sam", 90, workload=SMALL).acquire(4, "image", 80).acquire(5, "late", 80)
    assert expected(scene, 3) == 8.0
    assert expected(scene, 4) == 8.0 + 90 / 10.0 + 9.0
    assert expected(scene, 5) is None, "nobody knows how long an image takes"


def test_8_a_minimum_hold_is_waited_for_where_it_is_longer() -> None:
    scene = busy(quick(), length=10.0)
    scene.state = replace(scene.state, lengths={**scene.state.lengths, ("sam", None): 9.0})
    scene.do(events.StreamEnded(stream=2)).acquire(3, "sam", 90, min_hold_s=50.0).acquire(4, "image", 80)
    assert expected(scene, 4) == 8.0 + 50.0


def test_8_nothing_is_told_where_nobody_can_make_room() -> None:
    scene = Scene().hold(1, "video", 60, pid=1).do(events.StreamEnded(stream=1)).do(events.Tick(), 12.0)
    scene.acquire(2, "image", 50).acquire(3, "sam", 50)
    assert (eta(scene, 3), expected(scene, 2)) == (None, None)


MOVES: dict[str, tuple[float | None, float | None, bool]] = {
    "nothing is known": (None, None, False),
    "known now": (None, 100.0, True),
    "not known any more": (100.0, None, True),
    "a little": (100.0, 104.9, False),
    "near": (110.0, 115.1, True),
    "far, a quarter": (150.0, 140.1, False),
    "far, more": (150.0, 139.9, True),
    "over": (90.0, 100.0, True),
}


@pytest.mark.parametrize(("told", "time", "again"), MOVES.values(), ids=MOVES)
def test_8_an_estimate_is_told_again_when_it_has_moved_noticeably(
    told: float | None, time: float | None, again: bool
) -> None:
    assert is_noticeable(told, time, 100.0) is again


def test_8_waiting_in_peace_tells_nothing_again_and_a_turn_that_drags_on_does_seldom() -> None:
    scene = busy(quick(), length=10.0)
    told = 0
    for second in range(3, 110):
        told += len(scene.beat(1, at=float(second), used=second).queued(2))
        if second <= 10:
            assert told == 0
    assert 1 <= told <= 15, "of more than a hundred steps"


def test_8_what_was_told_is_the_rest_of_the_time() -> None:
    scene = busy(quick(), length=10.0)
    assert eta(scene, 2) == 8.0
    assert scene.do(events.Tick(), 6.0).queued(2) == []
    assert expected(scene, 2) == 4.0
