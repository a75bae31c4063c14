"""Rules 0 and 1 of `milimo_arbiter.core`: time, and requests."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from milimo_arbiter import effects, events
from milimo_arbiter.plan import next_change
from milimo_arbiter.queue import in_order
from milimo_arbiter.state import (
    Device,
    Footprint,
    Phase,
    ProcessIdentity,
    Request,
    State,
    restored,
)
from milimo_arbiter.store import LeaseStore

from .scene import POLICY, Scene, process, request, restart, resume

if TYPE_CHECKING:
    from pathlib import Path

# 0: time goes first


def test_0_1_grace_ends_when_every_holder_is_back() -> None:
    scene = restart(Scene().hold(1, "video", 60, pid=1).hold(2, "image", 30, pid=2), at=100.0)
    scene.acquire(3, "sam", 5)
    assert scene.sent(3)[0] == effects.Queued(position=1, reason="the arbiter has restarted and waits for its holders")
    scene.do(resume("video", 4, 1), 101.0)
    assert "granted" not in scene.decided()
    scene.do(resume("image", 5, 2), 102.0)
    assert "granted" in scene.decided()
    assert scene.state.grace_until is None


def test_0_1_grace_ends_at_its_time_and_the_missing_are_quarantined() -> None:
    scene = restart(Scene().hold(1, "video", 60, pid=1), at=100.0).acquire(3, "image", 50)
    assert next_change(scene.state, scene.now) == 115.0
    scene.do(events.Tick(), 115.0)
    assert scene.lease("video").phase is Phase.QUARANTINED
    assert "granted" not in scene.decided(), "memory that nobody claims counts as occupied"
    assert scene.state.grace_until is None


def test_0_2_an_expired_lease_is_quarantined_and_a_late_heartbeat_does_not_revive_it() -> None:
    scene = Scene().hold(1, "video", 60).acquire(2, "image", 50)
    scene.beat(1, at=12.0)
    assert scene.decided() == ["expired"]
    assert scene.sent(1) == [effects.Revoked(reason="it was not renewed in time")] * 2
    assert scene.lease("video").phase is Phase.QUARANTINED
    assert "image" not in scene.tenants()


def test_0_2_an_offer_that_nobody_answers_is_free_again() -> None:
    scene = Scene().hold(1, "sam", 60).acquire(2, "video", 60).acquire(3, "image", 50)
    scene.do(events.Release(stream=1))
    assert not scene.lease("video").confirmed
    scene.do(events.Tick(), 12.0)
    assert scene.tenants() == {"image"}
    assert scene.closed() == [2]


@pytest.mark.parametrize(("somebody_waits", "lost"), [(True, True), (False, False)])
def test_0_3_a_missed_deadline_costs_the_lease_only_if_somebody_waits(somebody_waits: bool, lost: bool) -> None:
    scene = Scene().hold(1, "video", 60, idle=True).acquire(2, "image", 50)
    assert scene.sent(1) == [effects.ReclaimRequested(bytes=10, deadline_s=10.0, reason="image waits for 50 bytes")]
    if not somebody_waits:
        scene.do(events.StreamEnded(stream=2))
    scene.beat(1, at=9.0).do(events.Tick(), 10.0)
    assert (scene.lease("video").phase is Phase.QUARANTINED) is lost
    assert scene.lease("video").reclaim is None


def late_holder(kill_after_s: float | None) -> Scene:
    """A holder that was asked at 0, let its 10 seconds pass and lost its lease while somebody waits."""
    scene = Scene()
    scene.state = replace(scene.state, policy=replace(POLICY, kill_after_s=kill_after_s))
    scene.hold(1, "video", 60, pid=1, idle=True).acquire(2, "image", 50)
    return scene.do(events.Tick(), 10.0)


def killed(scene: Scene) -> list[ProcessIdentity]:
    return [one.process for one in scene.done if isinstance(one, effects.Kill)]


def test_0_4_a_late_holder_that_does_not_release_either_is_killed_once() -> None:
    scene = late_holder(5.0)
    assert scene.decided() == ["revoked"]
    assert next_change(scene.state, 10.0) == 15.0
    assert killed(scene.do(events.Tick(), 14.9)) == []
    assert killed(scene.do(events.Tick(), 15.0)) == [process(1)]
    assert killed(scene.do(events.Tick(), 30.0)) == []
    assert scene.tenants() == {"video"}, "its memory counts until it is gone"
    assert scene.do(events.ProcessGone(process=process(1))).tenants() == {"image"}


def test_0_4_a_kill_survives_the_restart_of_the_arbiter(tmp_path: Path) -> None:
    scene, store = late_holder(5.0), LeaseStore(tmp_path / "arbiter.sqlite")
    store.load(now=10.0, wall=1_010.0, boot_id="boot")
    store.apply([one for one in scene.done if isinstance(one, effects.Change)], now=10.0, wall=1_010.0)
    store.close()
    for _ in range(2):
        # An arbiter that died before it could kill leaves it to the next one.
        store = LeaseStore(tmp_path / "arbiter.sqlite")
        record = store.load(now=3.0, wall=1_013.0, boot_id="boot")
        next_one = Scene(state=restored(scene.state.policy, scene.state.devices, record.leases, record.tokens, 3.0))
        assert next_change(next_one.state, 3.0) == 5.0
        assert killed(next_one.do(events.Tick(), 4.9)) == []
        assert killed(next_one.do(events.Tick(), 5.0)) == [process(1)]
        assert killed(next_one.do(events.Tick(), 6.0)) == []
        store.apply([one for one in next_one.done if isinstance(one, effects.Change)], now=6.0, wall=1_016.0)
        store.close()


@pytest.mark.parametrize("kill_after_s", [None, 5.0])
def test_0_4_nobody_is_killed_who_releases_or_where_it_is_not_configured(kill_after_s: float | None) -> None:
    scene = late_holder(kill_after_s)
    if kill_after_s is not None:
        scene.with_driver().do(events.Release(stream=1), 14.0)
        assert scene.lease("video").phase is Phase.QUARANTINED
    assert killed(scene.do(events.Tick(), 100.0)) == []


def test_0_4_an_operators_revocation_kills_nobody() -> None:
    scene = Scene()
    scene.state = replace(scene.state, policy=replace(POLICY, kill_after_s=5.0))
    scene.hold(1, "video", 60, pid=1).do(events.Revoke(lease_id="a-0-1", reason=""))
    assert killed(scene.do(events.Tick(), 100.0)) == []


# 1: asking

REFUSALS = {
    "1.1 twice on one stream": (1, request("image", 10), effects.Refusal.SECOND_ACQUIRE),
    "1.2 larger than any budget": (9, request("image", 102, 101), effects.Refusal.FOOTPRINT_TOO_LARGE),
    "1.2 on a device that is not there": (
        9,
        Request(tenant="image", footprints=(Footprint(name="g", bytes=1, devices=("b:0",)),)),
        effects.Refusal.DEVICE_UNKNOWN,
    ),
}


@pytest.mark.parametrize(("stream", "asked", "refusal"), REFUSALS.values(), ids=REFUSALS)
def test_1_refusals_change_nothing(stream: int, asked: Request, refusal: effects.Refusal) -> None:
    scene = Scene().hold(1, "video", 60)
    before = scene.state
    scene.do(events.Acquire(stream=stream, request=asked))
    assert scene.refused() == [refusal]
    assert scene.state == before


# What a grade names, and where it is granted on a host with two kinds of devices.
PLACES = {
    "nothing": ((), "a:0"),
    "a device": (("b:1",), "b:1"),
    "a kind": (("b",), "b:0"),
    "a kind that is not there, and a device": (("c", "b:1"), "b:1"),
    "a name that only begins like a kind": (("bb",), None),
    "an unknown device of a known kind": (("b:2",), None),
}


@pytest.mark.parametrize(("named", "granted"), PLACES.values(), ids=PLACES)
def test_7_1_a_grade_runs_where_it_says(named: tuple[str, ...], granted: str | None) -> None:
    devices = {id_: Device(id=id_, name="", total=100, reserve=0) for id_ in ("a:0", "b:0", "b:1")}
    asked = Request(tenant="image", footprints=(Footprint(name="g", bytes=60, devices=named),))
    scene = Scene(state=State(policy=POLICY, devices=devices)).do(events.Acquire(stream=1, request=asked))
    assert [lease.device for lease in scene.state.leases.values()] == ([] if granted is None else [granted])
    assert scene.refused() == ([effects.Refusal.DEVICE_UNKNOWN] if granted is None else [])


def test_1_3_the_queue_is_bounded() -> None:
    scene = Scene().hold(1, "video", 100)
    for stream in range(2, 6):
        assert scene.acquire(stream, f"t{stream}", 10).refused() == []
    assert scene.acquire(6, "late", 10).refused() == [effects.Refusal.QUEUE_FULL]
    assert len(scene.state.waiters) == POLICY.queue_bound


def test_1_4_and_7_2_a_grant_is_saved_before_it_is_sent_and_names_a_rising_token() -> None:
    scene = Scene().acquire(1, "video", 60, pid=1)
    kinds = [type(effect).__name__ for effect in scene.done]
    assert kinds == ["Save", "Watch", "Send", "Decided"]
    assert scene.acquire(2, "image", 40).lease("image").fencing_token == 2
    scene.do(events.Release(stream=2)).acquire(3, "image", 40)
    assert scene.lease("image").fencing_token == 3


def test_1_5_an_unknown_token_is_over() -> None:
    scene = Scene().do(resume("video", 1, 1))
    assert scene.sent(1) == [effects.Revoked(reason="there is no such lease any more")]
    assert scene.closed() == [1]


@pytest.mark.parametrize(("tenant", "pid"), [("image", 1), ("video", 2)])
def test_1_6_a_token_belongs_to_its_tenant_and_process(tenant: str, pid: int) -> None:
    scene = Scene().hold(1, "video", 60, pid=1).do(events.StreamEnded(stream=1))
    before = scene.state
    token = "token of video"
    scene.do(events.Resume(stream=2, tenant=tenant, resume_token=token, process=process(pid)))
    assert scene.refused() == [effects.Refusal.RESUME_TOKEN_FOREIGN]
    assert scene.state == before


@pytest.mark.parametrize(("tenant", "pid"), [("sam", 2), ("image", 3)])
def test_1_6_the_token_of_a_request_that_waits_belongs_to_it(tenant: str, pid: int) -> None:
    scene = Scene().hold(1, "video", 60, pid=1).acquire(2, "image", 50, pid=2)
    before = scene.state
    scene.acquire(3, tenant, 5, pid=pid, resume_token="token of image")
    assert scene.refused() == [effects.Refusal.RESUME_TOKEN_FOREIGN]
    assert scene.state == before


def test_1_7_a_lost_lease_stays_lost_but_can_be_released() -> None:
    scene = Scene().hold(1, "video", 60, pid=1).do(events.StreamEnded(stream=1)).do(events.Tick(), 12.0)
    scene.do(resume("video", 2, 1), 13.0)
    assert [type(reply) for reply in scene.sent(2)] == [effects.Revoked]
    assert scene.lease("video").phase is Phase.QUARANTINED
    scene.do(events.Release(stream=2))
    assert scene.tenants() == set()
    assert scene.sent(2) == [effects.Released()]


def test_1_9_a_repeated_request_finds_what_it_was_granted_and_another_process_does_not() -> None:
    scene = Scene().acquire(1, "video", 60, pid=1)
    lease = scene.lease("video")
    assert lease.confirmed, "the answer to the request itself is no mere offer"
    restart(scene, 1.0).acquire(2, "video", 60, pid=1, at=2.0)
    (granted,) = scene.sent(2)
    assert isinstance(granted, effects.Granted)
    assert (granted.lease.fencing_token, granted.lease.expires_at) == (lease.fencing_token, 14.0)
    before = scene.state
    assert scene.acquire(3, "video", 60, pid=2).refused() == [effects.Refusal.RESUME_TOKEN_FOREIGN]
    assert scene.state == before


def test_1_9_a_repeated_request_does_not_revive_what_was_lost_meanwhile() -> None:
    scene = Scene().acquire(1, "video", 60, pid=1).do(events.StreamEnded(stream=1)).do(events.Tick(), 12.0)
    scene.acquire(2, "video", 60, pid=1, at=13.0)
    assert scene.sent(2) == [effects.Revoked(reason="it was not renewed in time")]
    assert scene.do(events.Release(stream=2)).tenants() == set()


def test_1_10_a_repeated_request_keeps_its_place() -> None:
    scene = Scene().hold(1, "video", 60).acquire(2, "image", 50, at=1.0).acquire(3, "sam", 50, at=2.0)
    scene.acquire(4, "image", 50, at=3.0)
    assert scene.sent(4) == [effects.Queued(position=1, reason="video is busy on job job of video", eta_s=118.0)]
    assert scene.closed() == [2]
    assert [(one.stream, one.since) for one in in_order(scene.state)] == [(4, 1.0), (3, 2.0)]


def test_1_8_a_holder_that_comes_back_keeps_token_and_wish_and_its_old_stream_is_closed() -> None:
    scene = Scene().hold(1, "video", 60, pid=1, idle=True).acquire(2, "image", 50)
    token = scene.lease("video").fencing_token
    scene.do(resume("video", 3, 1), 4.0)
    granted, wish = scene.sent(3)
    assert isinstance(granted, effects.Granted)
    assert granted.lease.fencing_token == token
    assert wish == effects.ReclaimRequested(bytes=10, deadline_s=6.0, reason="image waits for 50 bytes")
    assert scene.closed() == [1]
    scene.do(events.StreamEnded(stream=1))
    assert scene.lease("video").stream == 3
    assert scene.lease("video").expires_at == 16.0
