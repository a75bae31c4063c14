"""Rules 1.11, 5.1 and 7.4 of `milimo_arbiter.core`: programs that are no tenants."""

from __future__ import annotations

import pytest
from milimo_arbiter import effects, events
from milimo_arbiter.memory import ledger
from milimo_arbiter.plan import next_change

from .scene import Scene


def beside(scene: Scene, size: int | None, *, busy: bool = False, at: float | None = None) -> Scene:
    """A program on the device of 110 bytes, 10 of which are its reserve."""
    return scene.do(events.ExternalSeen(name="ollama", device="a:0", bytes=size, busy=busy, problem="why"), at)


def evicted(scene: Scene) -> list[str]:
    return [one.name for one in scene.done if isinstance(one, effects.Evict)]


def test_5_1_what_a_program_holds_is_a_strangers_and_takes_the_reserve_first() -> None:
    scene = beside(Scene(), 30)
    assert (ledger(scene.state, "a:0").external, ledger(scene.state, "a:0").free) == (30, 80)
    assert scene.acquire(1, "video", 80).tenants() == {"video"}


def test_5_1_what_the_driver_sees_and_what_the_program_says_is_counted_once() -> None:
    scene = beside(Scene().with_driver(), 30).sample(30, {}, at=1.0)
    assert ledger(scene.state, "a:0").external == 30
    assert ledger(scene.sample(45, {}, at=2.0).state, "a:0").external == 45


def test_1_11_unknown_memory_is_neither_zero_nor_infinite_but_an_error() -> None:
    scene = beside(Scene(), None)
    before = scene.state
    assert scene.acquire(1, "video", 10).refused() == [effects.Refusal.EXTERNAL_UNKNOWN]
    assert scene.state == before
    assert beside(scene, 0).acquire(2, "video", 100).tenants() == {"video"}


def test_1_11_nobody_who_waits_is_served_while_it_is_unknown() -> None:
    scene = Scene().hold(1, "video", 60).acquire(2, "image", 60)
    beside(scene, None).do(events.Release(stream=1))
    assert scene.tenants() == set()
    assert beside(scene, 0).tenants() == {"image"}


def test_7_4_a_program_is_asked_once_and_again_when_its_time_is_over() -> None:
    scene = beside(Scene(), 50).acquire(1, "video", 90)
    assert evicted(scene) == ["ollama"]
    assert scene.decided() == ["evict_requested"]
    assert [(one.position, one.reason) for one in scene.queued(1)] == [(1, "memory of ollama is on its way back")]
    assert evicted(beside(scene, 50, at=59.0)) == []
    assert next_change(scene.state, 59.0) == 60.0
    assert evicted(scene.do(events.Tick(), 60.0)) == ["ollama"]
    assert beside(scene, 0, at=61.0).tenants() == {"video"}
    assert scene.state.externals["ollama"].asked_at is None


def test_7_4_a_program_that_holds_the_reserve_only_is_left_alone() -> None:
    scene = beside(Scene(), 10).hold(1, "video", 60).acquire(2, "image", 60)
    assert evicted(scene) == []
    assert [(one.position, one.reason) for one in scene.queued(2)] == [(1, "video is busy on job job of video")]


@pytest.mark.parametrize(("busy", "asked"), [(False, "ollama"), (True, "video")])
def test_7_1_the_cheaper_one_makes_room(busy: bool, asked: str) -> None:
    scene = beside(Scene(), 30, busy=busy).hold(1, "video", 50, idle=True).acquire(2, "image", 50)
    by_name = {"ollama": bool(evicted(scene)), "video": scene.lease("video").reclaim is not None}
    assert [name for name, was_asked in by_name.items() if was_asked] == [asked]


def test_7_4_a_program_and_a_tenant_make_room_together() -> None:
    scene = beside(Scene(), 50).hold(1, "video", 50, idle=True).acquire(2, "image", 100)
    assert evicted(scene) == ["ollama"]
    assert scene.lease("video").reclaim is not None
    assert beside(scene, 0).do(events.Release(stream=1)).tenants() == {"image"}
