"""Rule 5 of `milimo_arbiter.core`: what a measurement frees, and each byte counted once."""

from __future__ import annotations

import pytest
from milimo_arbiter import effects, events
from milimo_arbiter.memory import ledger, measured_use

from .scene import Scene

# 5: measurements

QUARANTINES = {
    "seen, and as large as before": ({1: 60}, 60, 2.0, 60),
    "seen, a part is back": ({1: 25}, 25, 2.0, 25),
    "seen, only the context is left": ({1: 2}, 2, 2.0, None),
    "gone": ({}, 0, 2.0, None),
    "a sample that was begun before the release": ({}, 0, 0.5, 60),
    "nobody says who: a stranger's from now on": (None, 60, 2.0, None),
}


@pytest.mark.parametrize(("by", "used", "begun", "left"), QUARANTINES.values(), ids=QUARANTINES)
def test_5_released_memory_is_free_when_a_later_sample_says_so(
    by: dict[int, int] | None, used: int, begun: float, left: int | None
) -> None:
    scene = Scene().with_driver().hold(1, "video", 60, pid=1).do(events.Release(stream=1), 1.0)
    scene.sample(used, by, at=2.0, begun=begun)
    assert {lease.bytes for lease in scene.state.leases.values()} == (set() if left is None else {left})
    if by is None:
        assert ledger(scene.state, "a:0").external == used


@pytest.mark.parametrize(("begun", "freed"), [(11.9, False), (12.1, True)])
def test_5_a_revoked_holder_may_load_on_until_its_ttl_so_a_sample_counts_only_after_it(
    begun: float, freed: bool
) -> None:
    scene = Scene().with_driver().hold(1, "video", 60, pid=1).do(events.Revoke(lease_id="a-0-1", reason=""), 1.0)
    scene.sample(0, {}, at=13.0, begun=begun)
    assert (scene.tenants() == set()) is freed


def test_5_a_sample_that_still_shows_all_of_it_is_no_news_for_the_record() -> None:
    scene = Scene().with_driver().hold(1, "video", 60, pid=1).do(events.Release(stream=1), 1.0)
    assert scene.sample(60, {1: 60}, at=2.0).done == ()
    assert scene.sample(25, {1: 25}, at=3.0).done == (effects.Save(lease=scene.lease("video")),)


def test_5_a_stale_sample_never_replaces_a_newer_one() -> None:
    scene = Scene().with_driver().sample(50, {9: 50}, at=2.0).sample(0, {}, at=3.0, begun=1.0)
    assert ledger(scene.state, "a:0").external == 50


def test_5_the_same_bytes_are_counted_once_whether_granted_or_measured() -> None:
    scene = Scene().with_driver().hold(1, "video", 60, pid=1).sample(60, {1: 60}, at=1.0)
    sums = ledger(scene.state, "a:0")
    assert (sums.granted, sums.measured, sums.external, sums.free) == (60, 60, 0, 40)
    assert measured_use(scene.state, scene.lease("video")) == 60


def test_5_strangers_use_the_reserve_first_and_two_claims_do_not_pass_on_one_snapshot() -> None:
    scene = Scene().with_driver().sample(30, {9: 30}, at=1.0)
    assert ledger(scene.state, "a:0").free == 80
    scene.acquire(1, "video", 50, pid=1).acquire(2, "image", 50, pid=2)
    assert scene.tenants() == {"video"}


def test_5_unreported_use_is_a_strangers_where_the_driver_names_nobody() -> None:
    scene = Scene().with_driver().hold(1, "video", 60, pid=1).sample(60, None, at=1.0)
    assert ledger(scene.state, "a:0").free == 0, "unknown is not zero"
    assert ledger(scene.beat(1, at=1.1, used=60).state, "a:0").free == 40


def test_5_what_a_process_has_not_given_back_does_not_count_against_its_own_next_claim() -> None:
    scene = Scene().with_driver().hold(1, "video", 90, pid=1).sample(90, {1: 90}, at=1.0)
    scene.do(events.Release(stream=1), 2.0).sample(70, {1: 70}, at=3.0)
    scene.acquire(2, "image", 90, pid=2)
    assert scene.tenants() == {"video"}, "for others it is occupied"
    scene.do(events.StreamEnded(stream=2)).acquire(3, "video", 90, pid=1)
    assert [lease.stream for lease in scene.state.leases.values()] == [3]
