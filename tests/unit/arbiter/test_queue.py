"""Rules 7 and 8 of `milimo_arbiter.core`: who is served, who makes room, and who is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from milimo_arbiter import effects, events
from milimo_arbiter.plan import next_change
from milimo_arbiter.queue import in_order
from milimo_arbiter.state import (
    Device,
    Priority,
)

from .scene import Scene

# 7: the queue is served


def test_7_priority_classes_age_so_that_nobody_starves() -> None:
    scene = Scene().hold(1, "video", 100)
    scene.acquire(2, "low", 10, at=1.0, priority=Priority.LOW)
    scene.beat(1, at=10.0).acquire(3, "high", 10, at=11.0, priority=Priority.HIGH)
    assert [waiter.request.tenant for waiter in in_order(scene.state)] == ["high", "low"]
    for now in range(20, 140, 10):
        scene.beat(1, at=float(now))
    scene.acquire(4, "late", 10, at=130.5, priority=Priority.HIGH)
    assert [waiter.request.tenant for waiter in in_order(scene.state)] == ["high", "low", "late"]


GRADES = {
    # The first grade fits.
    "best": ((), (80, 40), ("g0", set())),
    # Evicting 30 idle bytes costs 30 seconds, as much as a grade less: the better grade wins.
    "evict": (((30, True),), (80, 40), (None, {"t0"})),
    # Evicting 50 idle bytes costs 50 seconds: a smaller grade is cheaper.
    "smaller": (((50, True),), (80, 40), ("g1", set())),
    # A busy holder costs 60 more: a smaller grade is cheaper.
    "busy": (((30, False),), (80, 40), ("g1", set())),
    # No grade fits: 60 for the best, or 40 and a grade less for the other.
    "room": (((60, True), (40, True)), (50, 20), (None, {"t0"})),
    "less room": (((75, True), (25, True)), (50, 20), (None, {"t1"})),
    # Idle before busy, though the busy one would be cheaper.
    "idle first": (((20, False), (60, True)), (70,), (None, {"t1"})),
    # The cheap one would not be enough, and with the other it is superfluous.
    "superfluous": (((10, True), (60, True)), (60,), (None, {"t1"})),
}


@pytest.mark.parametrize(("held", "sizes", "expected"), GRADES.values(), ids=GRADES)
def test_7_1_the_cheapest_option_counts(
    held: tuple[tuple[int, bool], ...], sizes: tuple[int, ...], expected: tuple[str | None, set[str]]
) -> None:
    scene = Scene()
    for index, (size, idle) in enumerate(held):
        scene.hold(index, f"t{index}", size, idle=idle)
    scene.acquire(9, "new", *sizes)
    granted = {lease.footprint for lease in scene.state.leases.values() if lease.tenant == "new"}
    asked = {lease.tenant for lease in scene.state.leases.values() if lease.reclaim}
    assert (granted.pop() if granted else None, asked) == expected


def test_7_1_equal_costs_go_to_the_least_recently_used() -> None:
    scene = Scene().hold(1, "old", 50).hold(2, "older", 50)
    scene.do(events.Idle(stream=2), 1.0).do(events.Idle(stream=1), 2.0).acquire(3, "new", 50)
    assert scene.lease("older").reclaim is not None
    assert scene.lease("old").reclaim is None


def test_7_2_two_tenants_share_a_device_when_both_fit() -> None:
    assert Scene().hold(1, "video", 60).hold(2, "image", 40).tenants() == {"video", "image"}


def test_7_2_another_device_serves_who_does_not_fit_on_the_first() -> None:
    scene = Scene()
    scene.state = replace(
        scene.state, devices={**scene.state.devices, "a:1": Device(id="a:1", name="", total=50, reserve=0)}
    )
    scene.hold(1, "video", 80).hold(2, "image", 50)
    assert scene.lease("image").device == "a:1"
    assert scene.lease("image").fencing_token == 1, "tokens rise per device"


def test_7_2_nobody_waits_for_memory_that_is_free_on_another_device() -> None:
    scene = Scene()
    scene.state = replace(
        scene.state, devices={**scene.state.devices, "a:1": Device(id="a:1", name="", total=50, reserve=0)}
    )
    scene.hold(1, "video", 80, idle=True).do(events.ReclaimIdle(device="a:0", bytes=0)).acquire(2, "image", 50)
    assert scene.lease("image").device == "a:1"


def test_7_3_a_small_request_passes_only_if_it_takes_nothing_from_an_earlier_one() -> None:
    scene = Scene().hold(1, "video", 70, idle=True).do(events.ReclaimIdle(device=None, bytes=0))
    scene.acquire(2, "image", 80)
    assert scene.acquire(3, "sam", 25).tenants() == {"video"}, "10 of the 30 free bytes are promised"
    assert scene.sent(3) == [effects.Queued(position=2, reason="1 request is ahead")]
    assert scene.acquire(4, "tiny", 20).tenants() == {"video", "tiny"}


def test_7_3_nobody_else_is_asked_while_enough_is_on_its_way_back() -> None:
    scene = Scene().with_driver().hold(1, "video", 50, pid=1, idle=True).hold(2, "sam", 40, pid=2, idle=True)
    scene.acquire(3, "image", 50)
    assert {lease.tenant for lease in scene.state.leases.values() if lease.reclaim} == {"sam"}
    scene.do(events.Release(stream=2), 1.0)
    assert scene.lease("video").reclaim is None, "released memory takes a moment to show"
    scene.beat(1, at=5.9).do(events.Tick(), 6.0)
    assert scene.lease("video").reclaim is not None, "but the queue does not wait for it for ever"


def test_7_4_a_busy_holder_is_asked_after_its_minimum_hold() -> None:
    scene = Scene().hold(1, "video", 60, min_hold_s=5.0).acquire(2, "image", 50)
    assert scene.lease("video").reclaim is None
    assert next_change(scene.state, scene.now) == 5.0
    assert scene.do(events.Tick(), 5.0).lease("video").reclaim is not None


def test_7_5_a_request_that_nobody_can_make_room_for_holds_nobody_up() -> None:
    scene = Scene().hold(1, "video", 60, pid=1).do(events.StreamEnded(stream=1)).do(events.Tick(), 12.0)
    scene.acquire(2, "image", 50)
    assert scene.sent(2) == [effects.Queued(position=1, reason="no holder could make room for it")]
    assert scene.acquire(3, "sam", 40).tenants() == {"video", "sam"}


# 8: telling


def test_8_those_who_wait_hear_of_changes_only() -> None:
    scene = Scene().hold(1, "video", 60).acquire(2, "image", 50).acquire(3, "sam", 50)
    assert [reply.position for reply in scene.sent(3) if isinstance(reply, effects.Queued)] == [2]
    assert scene.beat(1, at=1.0).sent(3) == []
    scene.do(events.StreamEnded(stream=2))
    assert [reply.position for reply in scene.sent(3) if isinstance(reply, effects.Queued)] == [1]
