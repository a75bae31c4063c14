"""What `milimo_arbiter.core` says about its decisions: each action with its reason, and each refusal with its text."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from milimo_arbiter import effects, events
from milimo_arbiter.state import Device

from .scene import POLICY, Scene, process, restart, resume

if TYPE_CHECKING:
    from collections.abc import Callable


def said(scene: Scene) -> list[tuple[str, str, int, str]]:
    """Action, tenant, bytes and reason of each decision of the last step."""
    return [(one.action, one.tenant, one.bytes, one.reason) for one in scene.done if isinstance(one, effects.Decided)]


def two_idle() -> Scene:
    """Idle leases on each of two devices."""
    scene = Scene()
    devices = {**scene.state.devices, "a:1": Device(id="a:1", name="", total=50, reserve=0)}
    scene.state = replace(scene.state, devices=devices)
    return scene.hold(1, "video", 80, idle=True).hold(2, "image", 50, idle=True)


def late(kill_after_s: float | None = None) -> Scene:
    scene = Scene()
    scene.state = replace(scene.state, policy=replace(POLICY, kill_after_s=kill_after_s))
    return scene.hold(1, "video", 60, pid=1, idle=True).acquire(2, "image", 50)


# Played only in the test: a rule that is broken must fail it, not its collection.
DECISIONS: dict[str, tuple[Callable[[], Scene], list[tuple[str, str, int, str]]]] = {
    "granted": (lambda: Scene().acquire(1, "video", 60), [("granted", "video", 60, "g0 fits")]),
    "granted later": (
        lambda: Scene().hold(1, "video", 60).acquire(2, "image", 50).do(events.Release(stream=1), 2.0),
        [
            ("released", "video", 60, "the holder has freed it"),
            ("granted", "image", 50, "g0 fits after 2.0 s"),
        ],
    ),
    "released, to be measured": (
        lambda: Scene().with_driver().hold(1, "video", 60, pid=1).do(events.Release(stream=1)),
        [("released", "video", 60, "until it is measured free")],
    ),
    "shrunk": (
        lambda: Scene().hold(1, "video", 60).do(events.Shrink(stream=1, bytes=10)),
        [("shrunk", "video", 10, "the holder has freed a part")],
    ),
    "expired": (
        lambda: Scene().hold(1, "video", 60).do(events.Tick(), 12.0),
        [("expired", "video", 60, "it was not renewed in time")],
    ),
    "late": (
        lambda: late().do(events.Tick(), 10.0),
        [("revoked", "video", 60, "the deadline has passed: image waits for 50 bytes")],
    ),
    "killed": (
        lambda: late(5.0).do(events.Tick(), 10.0).do(events.Tick(), 15.0),
        [("killed", "video", 60, "it has not released: the deadline has passed: image waits for 50 bytes")],
    ),
    "asked": (lambda: late(), [("reclaim_requested", "video", 10, "image waits for 50 bytes")]),
    "lost": (
        lambda: Scene().hold(1, "video", 60).do(events.StreamEnded(stream=1)),
        [("lost", "video", 60, "the stream ended without a release")],
    ),
    "lost what was lost before": (
        lambda: Scene().hold(1, "video", 60).do(events.Tick(), 12.0).do(events.StreamEnded(stream=1)),
        [],
    ),
    "taken back": (
        lambda: (
            Scene()
            .hold(1, "video", 60)
            .acquire(2, "image", 60)
            .do(events.Release(stream=1))
            .do(events.StreamEnded(stream=2))
        ),
        [("taken_back", "image", 60, "the waiter has gone")],
    ),
    "dead": (
        lambda: Scene().hold(1, "video", 60, pid=1).do(events.ProcessGone(process=process(1))),
        [("freed", "video", 60, "its process has ended")],
    ),
    "revoked": (
        lambda: Scene().hold(1, "video", 60).do(events.Revoke(lease_id="a-0-1", reason="")),
        [("revoked", "video", 60, "revoked by an operator")],
    ),
    "freed by word": (
        lambda: (
            Scene()
            .hold(1, "video", 60)
            .do(events.Revoke(lease_id="a-0-1", reason=""))
            .do(events.Revoke(lease_id="a-0-1", reason="it is gone"))
        ),
        [("freed", "video", 60, "it is gone")],
    ),
    "reclaimed on one device": (
        lambda: two_idle().do(events.ReclaimIdle(device="a:1", bytes=0)),
        [("reclaim_requested", "image", 50, "an operator wants memory back")],
    ),
    "reclaimed on both": (
        lambda: two_idle().do(events.ReclaimIdle(device=None, bytes=20)),
        [
            ("reclaim_requested", "video", 20, "an operator wants memory back"),
            ("reclaim_requested", "image", 20, "an operator wants memory back"),
        ],
    ),
    "measured": (
        lambda: (
            Scene().with_driver().hold(1, "video", 60, pid=1).do(events.Release(stream=1), 1.0).sample(0, {}, at=2.0)
        ),
        [("freed", "video", 60, "it is measured free")],
    ),
    "resumed": (
        lambda: restart(Scene().hold(1, "video", 60, pid=1), 1.0).do(resume("video", 2, 1)),
        [("resumed", "video", 60, "the holder is back")],
    ),
}


@pytest.mark.parametrize(("play", "decisions"), DECISIONS.values(), ids=DECISIONS)
def test_each_decision_says_why(play: Callable[[], Scene], decisions: list[tuple[str, str, int, str]]) -> None:
    assert said(play()) == decisions


def test_2_4_a_shrink_that_is_too_large_says_what_to_do() -> None:
    scene = Scene().hold(1, "video", 60).do(events.Shrink(stream=1, bytes=61))
    text = "the lease has 60 bytes: release it instead of shrinking it by 61"
    assert scene.done == (effects.Refuse(stream=1, refusal=effects.Refusal.SHRINK_TOO_LARGE, text=text),)


@pytest.mark.parametrize(("size", "wish"), [(4, 6), (9, 1), (10, None)])
def test_2_4_a_wish_that_was_fulfilled_in_part_stands_for_the_rest(size: int, wish: int | None) -> None:
    scene = late().do(events.StreamEnded(stream=2)).do(events.Shrink(stream=1, bytes=size), 3.0)
    reclaim = scene.lease("video").reclaim
    assert (None if reclaim is None else (reclaim.bytes, reclaim.asked_at, reclaim.deadline)) == (
        None if wish is None else (wish, 0.0, 10.0)
    )


@pytest.mark.parametrize(("used", "left"), [(None, None), (20, 20), (60, 50)])
def test_2_4_what_is_used_is_not_more_than_what_is_left(used: int | None, left: int | None) -> None:
    scene = Scene().hold(1, "video", 60).beat(1, used=used).do(events.Shrink(stream=1, bytes=10))
    assert scene.lease("video").used == left


def test_2_1_who_releases_what_it_waits_for_is_answered_and_closed() -> None:
    scene = Scene().hold(1, "video", 60).acquire(2, "image", 50).do(events.Release(stream=2))
    assert (scene.sent(2), scene.closed(), scene.state.waiters) == ([effects.Released()], [2], {})


def test_2_6_a_turn_keeps_what_it_was_told_and_when_it_began() -> None:
    scene = Scene().hold(1, "video", 60).do(events.Busy(stream=1, job_id="x", waiting_jobs=3), 2.0)
    scene.do(events.Busy(stream=1, job_id="x", waiting_jobs=1), 4.0)
    turn, lease = scene.lease("video").turn, scene.lease("video")
    assert turn is not None
    assert (turn.job_id, turn.waiting_jobs, turn.since, lease.last_used) == ("x", 1, 2.0, 4.0)
    assert scene.do(events.Idle(stream=1), 5.0).lease("video").last_used == 5.0


def test_5_a_reading_of_the_same_time_or_of_another_device_changes_nothing() -> None:
    scene = Scene().with_driver().sample(50, {9: 50}, at=2.0)
    before = scene.state
    assert scene.sample(0, {}, at=3.0, begun=2.0).state == before
    sample = before.devices["a:0"].sample
    assert sample is not None
    assert scene.do(events.Sampled(device="b:0", sample=sample), 4.0).state == before
