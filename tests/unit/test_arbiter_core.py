"""The arbiter's decision tree, rule by rule; the numbers are those of `milimo_arbiter.core`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from milimo_arbiter import effects, events
from milimo_arbiter.core import step
from milimo_arbiter.memory import ledger, measured_use
from milimo_arbiter.plan import next_change
from milimo_arbiter.queue import in_order
from milimo_arbiter.state import (
    Device,
    Footprint,
    Lease,
    Phase,
    Policy,
    Priority,
    ProcessIdentity,
    Request,
    Sample,
    State,
    restored,
)

POLICY = Policy(
    ttl_s=12.0,
    grace_s=15.0,
    queue_bound=4,
    ageing_s=60.0,
    batch_turns=2,
    batch_s=30.0,
    idle_deadline_s=10.0,
    busy_deadline_s=120.0,
    settle_s=5.0,
    downgrade_s=30.0,
    busy_wait_s=60.0,
    reload_bytes_per_s=1.0,
    context_bytes=2,
)


def process(pid: int) -> ProcessIdentity:
    return ProcessIdentity(pid=pid, start_ticks=1000 + pid, pid_namespace=1)


def request(tenant: str, *sizes: int, pid: int | None = None, **more: object) -> Request:
    """A request with one grade for each size, "g0" the best."""
    footprints = tuple(Footprint(name=f"g{rank}", bytes=size) for rank, size in enumerate(sizes))
    values: dict[str, object] = {
        "footprints": footprints,
        "job_id": f"job of {tenant}",
        "resume_token": f"token of {tenant}",
    }
    identity = None if pid is None else process(pid)
    return Request(tenant=tenant, process=identity, **{**values, **more})  # type: ignore[arg-type]


@dataclass
class Scene:
    """An arbiter with one device of 100 bytes, and what it did last."""

    state: State = field(
        default_factory=lambda: State(policy=POLICY, devices={"a:0": Device(id="a:0", name="", total=110, reserve=10)})
    )
    now: float = 0.0
    done: tuple[effects.Effect, ...] = ()

    def do(self, event: events.Event, at: float | None = None) -> Scene:
        self.now = self.now if at is None else at
        self.state, self.done = step(self.state, event, self.now)
        return self

    def acquire(self, stream: int, tenant: str, *sizes: int, at: float | None = None, **more: object) -> Scene:
        return self.do(events.Acquire(stream=stream, request=request(tenant, *sizes, **more)), at)  # type: ignore[arg-type]

    def hold(self, stream: int, tenant: str, *sizes: int, idle: bool = False, **more: object) -> Scene:
        """Acquires, confirms, and goes idle if asked to."""
        self.acquire(stream, tenant, *sizes, **more)  # type: ignore[arg-type]
        self.beat(stream)
        return self.do(events.Idle(stream=stream)) if idle else self

    def beat(self, stream: int, at: float | None = None, used: int | None = None) -> Scene:
        return self.do(events.Heartbeat(stream=stream, sequence=7, used=used), at)

    def sent(self, stream: int) -> list[effects.Reply]:
        return [one.reply for one in self.done if isinstance(one, effects.Send) and one.stream == stream]

    def decided(self) -> list[str]:
        return [one.action for one in self.done if isinstance(one, effects.Decided)]

    def closed(self) -> list[int]:
        return [one.stream for one in self.done if isinstance(one, effects.Close)]

    def refused(self) -> list[effects.Refusal]:
        return [one.refusal for one in self.done if isinstance(one, effects.Refuse)]

    def lease(self, tenant: str) -> Lease:
        return next(lease for lease in self.state.leases.values() if lease.tenant == tenant)

    def tenants(self) -> set[str]:
        return {lease.tenant for lease in self.state.leases.values()}

    def with_driver(self) -> Scene:
        self.state = replace(self.state, devices={"a:0": replace(self.state.devices["a:0"], driver=True)})
        return self

    def sample(self, used: int, by: dict[int, int] | None, *, at: float, begun: float | None = None) -> Scene:
        by_process = None if by is None else {process(pid): size for pid, size in by.items()}
        sample = Sample(at=at if begun is None else begun, used=used, by_process=by_process)
        return self.do(events.Sampled(device="a:0", sample=sample), at)


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


def restart(scene: Scene, at: float) -> Scene:
    """The arbiter dies and starts again with what it has saved."""
    scene.now = at
    scene.state = restored(POLICY, scene.state.devices, scene.state.leases, scene.state.tokens, at)
    return scene


def resume(tenant: str, stream: int, pid: int) -> events.Resume:
    return events.Resume(stream=stream, tenant=tenant, resume_token=f"token of {tenant}", process=process(pid))


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
    assert scene.sent(2) == [effects.Queued(position=1, reason="video is busy on job v1")]
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
    assert scene.sent(2) == [effects.Queued(position=1, reason="memory of a:0 is on its way back")]


# 3: something is gone


def test_3_1_a_waiter_that_goes_is_removed() -> None:
    scene = Scene().hold(1, "video", 60).acquire(2, "image", 50).acquire(3, "sam", 50)
    scene.do(events.StreamEnded(stream=2))
    assert list(scene.state.waiters) == [3]
    assert effects.Queued(position=1, reason="video is busy on job job of video") in scene.sent(3)


def test_3_2_a_grant_to_a_waiter_that_has_gone_is_taken_back() -> None:
    scene = Scene().hold(1, "video", 60).acquire(2, "image", 50).acquire(3, "sam", 50)
    scene.do(events.Release(stream=1)).do(events.StreamEnded(stream=2))
    assert scene.tenants() == {"sam"}
    assert scene.decided()[0] == "taken_back"


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
