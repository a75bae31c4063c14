"""Rules 2 to 4 of `milimo_arbiter.core`: what holders say, what is gone, what operators decide."""

from __future__ import annotations

from dataclasses import replace

import pytest
from milimo_arbiter import effects, events
from milimo_arbiter.memory import ledger
from milimo_arbiter.plan import next_change
from milimo_arbiter.state import (
    Phase,
)

from .scene import Scene, process, resume

# 2: holders speak


def test_2_1_a_stream_without_a_lease_hears_so() -> None:
    scene = Scene().hold(1, "video", 60, pid=1).do(events.ProcessGone(process=process(1))).beat(1)
    assert scene.sent(1) == [effects.Revoked(reason="there is no such lease any more")]
    assert scene.closed() == [1]


@pytest.mark.parametrize(
    "message",
    [
        events.Heartbeat(stream=1, sequence=1, used=1),
        events.Shrink(stream=1, bytes=1),
        events.Idle(stream=1),
        events.Busy(stream=1, job_id="j", waiting_jobs=0),
    ],
)
def test_2_2_a_quarantined_holder_is_heard_only_when_it_releases(message: events.Message) -> None:
    scene = Scene().hold(1, "video", 60).do(events.Revoke(lease_id="a-0-1", reason="why not"))
    before = scene.state
    scene.do(message)
    assert scene.state == before
    assert scene.sent(1) == [effects.Revoked(reason="why not")]


def test_2_3_a_heartbeat_renews_and_one_without_a_sample_keeps_the_last_one() -> None:
    scene = Scene().hold(1, "video", 60).beat(1, at=5.0, used=70)
    assert scene.sent(1) == [effects.Renewed(sequence=7)]
    assert scene.lease("video").expires_at == 17.0
    scene.beat(1, at=6.0, used=None)
    assert scene.lease("video").used == 70
    assert ledger(scene.state, "a:0").free == 30, "what is used beyond the grant is taken, too"
    assert scene.acquire(2, "image", 40).sent(2) != []
    assert scene.tenants() == {"video"}


def test_2_4_a_shrink_makes_room_and_fulfils_a_wish() -> None:
    scene = Scene().hold(1, "video", 60, idle=True).beat(1, used=60).acquire(2, "image", 50)
    scene.do(events.Shrink(stream=1, bytes=10))
    assert scene.lease("video").bytes == 50
    assert scene.lease("video").reclaim is None
    assert scene.tenants() == {"video", "image"}


@pytest.mark.parametrize("size", [60, 61])
def test_2_4_nobody_shrinks_to_nothing(size: int) -> None:
    scene = Scene().hold(1, "video", 60)
    before = scene.state
    assert scene.do(events.Shrink(stream=1, bytes=size)).refused() == [effects.Refusal.SHRINK_TOO_LARGE]
    assert scene.state == before


def test_2_5_an_idle_holder_is_asked_at_once_and_has_the_idle_deadline() -> None:
    scene = Scene().hold(1, "video", 60, min_hold_s=5.0).acquire(2, "image", 50)
    assert scene.sent(1) == [], "the minimum hold protects a busy holder"
    scene.do(events.Idle(stream=1), 1.0)
    assert scene.lease("video").reclaim is not None
    assert scene.lease("video").reclaim.deadline == 11.0  # type: ignore[union-attr]


def test_2_6_a_turn_that_crossed_a_wish_may_end_but_changing_ones_mind_buys_no_more_time() -> None:
    scene = Scene().hold(1, "video", 60, idle=True).acquire(2, "image", 50)
    scene.do(events.Busy(stream=1, job_id="x", waiting_jobs=0), 1.0)
    assert scene.lease("video").reclaim.deadline == 120.0  # type: ignore[union-attr]
    deadlines = []
    for now in (100.0, 109.0, 118.0, 127.0):
        scene.state = scene.state.with_lease(replace(scene.lease("video"), expires_at=1000.0))
        scene.do(events.Busy(stream=1, job_id=f"{now}", waiting_jobs=0), now).do(events.Idle(stream=1), now)
        deadlines.append(scene.lease("video").reclaim.deadline)  # type: ignore[union-attr]
    assert deadlines == [110.0, 119.0, 128.0, 130.0]
    assert scene.do(events.Tick(), 130.0).lease("video").phase is Phase.QUARANTINED


def test_2_6_a_tenant_may_begin_a_bounded_batch_of_turns_while_others_wait() -> None:
    scene = Scene().hold(1, "video", 60)
    scene.do(events.Busy(stream=1, job_id="v1", waiting_jobs=5)).acquire(2, "image", 50)
    assert scene.sent(1) == []
    assert [(one.position, one.reason) for one in scene.queued(2)] == [(1, "video is busy on job v1")]
    assert scene.do(events.Busy(stream=1, job_id="v2", waiting_jobs=4)).sent(1) == []
    assert scene.do(events.Busy(stream=1, job_id="v2", waiting_jobs=5)).sent(1) == [], "the same turn"
    asked = scene.do(events.Busy(stream=1, job_id="v3", waiting_jobs=3)).sent(1)
    assert asked == [effects.ReclaimRequested(bytes=10, deadline_s=120.0, reason="image waits for 50 bytes")]


def test_2_6_a_batch_of_long_turns_ends_by_time() -> None:
    scene = Scene().hold(1, "video", 60)
    scene.do(events.Busy(stream=1, job_id="v1", waiting_jobs=5), 1.0).acquire(2, "image", 50, at=2.0)
    assert next_change(scene.state, 2.0) in (12.0, 32.0)
    for now in (10.0, 20.0, 30.0):
        assert scene.beat(1, at=now).lease("video").reclaim is None
    assert scene.do(events.Tick(), 32.0).lease("video").reclaim is not None


def test_2_7_a_release_is_free_at_once_where_only_holders_measure() -> None:
    scene = Scene().hold(1, "video", 60).acquire(2, "image", 50).do(events.Release(stream=1))
    assert scene.tenants() == {"image"}
    assert scene.sent(1) == [effects.Released()]
    assert scene.closed() == [1]


def test_2_7_a_release_waits_for_the_driver_where_there_is_one() -> None:
    scene = Scene().with_driver().hold(1, "video", 60, pid=1).acquire(2, "image", 50).do(events.Release(stream=1), 1.0)
    assert scene.lease("video").phase is Phase.QUARANTINED
    assert scene.sent(2) == [effects.Queued(position=1, reason="memory of a:0 is on its way back", eta_s=0.0)]


# 3: something is gone


def test_3_1_a_waiter_that_goes_is_removed() -> None:
    scene = Scene().hold(1, "video", 60).acquire(2, "image", 50).acquire(3, "sam", 50)
    scene.do(events.StreamEnded(stream=2))
    assert list(scene.state.waiters) == [3]
    assert [(one.position, one.reason) for one in scene.queued(3)] == [(1, "video is busy on job job of video")]


def test_3_2_a_grant_to_a_waiter_that_has_gone_is_taken_back() -> None:
    scene = Scene().hold(1, "video", 60).acquire(2, "image", 50).acquire(3, "sam", 50)
    scene.do(events.Release(stream=1)).do(events.StreamEnded(stream=2))
    assert scene.tenants() == {"sam"}
    assert scene.decided()[0] == "taken_back"


def test_3_3_a_grant_that_needed_no_wait_may_be_in_use_already() -> None:
    scene = Scene().acquire(1, "video", 60, pid=1).do(events.StreamEnded(stream=1)).acquire(2, "image", 50)
    assert scene.tenants() == {"video"}
    assert scene.do(events.Tick(), 12.0).lease("video").phase is Phase.QUARANTINED


def test_3_3_a_lost_holder_keeps_its_bytes_until_the_ttl_ends() -> None:
    scene = Scene().hold(1, "video", 60, pid=1).acquire(2, "image", 50).do(events.StreamEnded(stream=1), 1.0)
    assert scene.tenants() == {"video"}
    assert scene.lease("video").quarantine is None
    assert scene.do(resume("video", 3, 1), 11.0).lease("video").expires_at == 23.0


@pytest.mark.parametrize("lost_first", [True, False])
def test_3_4_a_dead_process_holds_nothing(lost_first: bool) -> None:
    scene = Scene().hold(1, "video", 60, pid=1).acquire(2, "image", 50, pid=2)
    if lost_first:
        scene.do(events.StreamEnded(stream=1)).do(events.Tick(), 12.0)
    scene.do(events.ProcessGone(process=process(1)))
    assert scene.tenants() == {"image"}


def test_3_4_another_process_with_the_same_pid_changes_nothing() -> None:
    scene = Scene().hold(1, "video", 60, pid=1)
    scene.do(events.ProcessGone(process=replace(process(1), start_ticks=1)))
    assert scene.tenants() == {"video"}


# 4: operators


def test_4_1_revoked_bytes_stay_occupied() -> None:
    scene = Scene().hold(1, "video", 60, pid=1).acquire(2, "image", 50)
    scene.do(events.Revoke(lease_id="a-0-1", reason="enough"))
    assert scene.sent(1) == [effects.Revoked(reason="enough")]
    assert scene.tenants() == {"video"}
    scene.do(events.Revoke(lease_id="a-0-1", reason="again"))
    assert scene.tenants() == {"video"}, "its process can be watched: nobody's word replaces its end"


def test_4_1_an_operators_word_frees_what_nobody_can_watch() -> None:
    scene = Scene().hold(1, "video", 60, pid=None).do(events.Revoke(lease_id="a-0-1", reason="enough"))
    scene.do(events.Revoke(lease_id="a-0-1", reason="the container is gone"))
    assert scene.tenants() == set()


def test_4_1_an_unknown_lease_changes_nothing() -> None:
    scene = Scene().hold(1, "video", 60)
    before = scene.state
    assert scene.do(events.Revoke(lease_id="a-0-9", reason="")).state == before


@pytest.mark.parametrize(("wish", "asked"), [(0, {"sam", "image"}), (5, {"sam"}), (25, {"sam", "image"})])
def test_4_2_idle_holders_are_asked_cheapest_first(wish: int, asked: set[str]) -> None:
    scene = Scene().hold(1, "video", 40).hold(2, "image", 30, idle=True).hold(3, "sam", 20, idle=True)
    scene.do(events.ReclaimIdle(device=None, bytes=wish))
    assert {lease.tenant for lease in scene.state.leases.values() if lease.reclaim} == asked
