"""Rules 0 and 1 of `milimo_arbiter.core`: time, and requests."""

from __future__ import annotations

import pytest
from milimo_arbiter import effects, events
from milimo_arbiter.plan import next_change
from milimo_arbiter.state import (
    Device,
    Footprint,
    Phase,
    Request,
    State,
)

from .scene import POLICY, Scene, process, request, restart, resume

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
    scene = Scene().acquire(1, "video", 60).acquire(2, "image", 50)
    scene.do(events.Tick(), 12.0)
    assert scene.tenants() == {"image"}
    assert 1 in scene.closed()


@pytest.mark.parametrize(("somebody_waits", "lost"), [(True, True), (False, False)])
def test_0_3_a_missed_deadline_costs_the_lease_only_if_somebody_waits(somebody_waits: bool, lost: bool) -> None:
    scene = Scene().hold(1, "video", 60, idle=True).acquire(2, "image", 50)
    assert scene.sent(1) == [effects.ReclaimRequested(bytes=10, deadline_s=10.0, reason="image waits for 50 bytes")]
    if not somebody_waits:
        scene.do(events.StreamEnded(stream=2))
    scene.beat(1, at=9.0).do(events.Tick(), 10.0)
    assert (scene.lease("video").phase is Phase.QUARANTINED) is lost
    assert scene.lease("video").reclaim is None


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


def test_1_7_a_lost_lease_stays_lost_but_can_be_released() -> None:
    scene = Scene().hold(1, "video", 60, pid=1).do(events.StreamEnded(stream=1)).do(events.Tick(), 12.0)
    scene.do(resume("video", 2, 1), 13.0)
    assert [type(reply) for reply in scene.sent(2)] == [effects.Revoked]
    assert scene.lease("video").phase is Phase.QUARANTINED
    scene.do(events.Release(stream=2))
    assert scene.tenants() == set()
    assert scene.sent(2) == [effects.Released()]


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
