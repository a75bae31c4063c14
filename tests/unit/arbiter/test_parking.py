"""Rule 2.8 of `milimo_arbiter.core`: host memory for parked weights."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from milimo_arbiter import effects, events
from milimo_arbiter.devices import parking_budget
from milimo_arbiter.settings import ArbiterSettings
from milimo_arbiter.state import Device, Parking, State
from milimo_arbiter.store import LeaseStore

from .scene import POLICY, Scene, process

if TYPE_CHECKING:
    from pathlib import Path


def lot(size: int = 100) -> Scene:
    """An arbiter with one device of 100 bytes, and host memory to park in."""
    device = Device(id="a:0", name="", total=110, reserve=10)
    return Scene(state=State(policy=POLICY, devices={"a:0": device}, parking_budget=size))


def park(scene: Scene, stream: int, size: int) -> int:
    """What the arbiter answers."""
    (answer,) = scene.do(events.Park(stream=stream, bytes=size)).sent(stream)
    assert isinstance(answer, effects.Parked)
    return answer.bytes


def test_2_8_all_or_what_it_had() -> None:
    scene = lot().hold(1, "video", 50, pid=1).hold(2, "image", 50, pid=2)
    assert park(scene, 1, 70) == 70
    assert park(scene, 2, 31) == 0, "a part of a flat buffer is of no use"
    assert park(scene, 2, 30) == 30
    assert park(scene, 2, 40) == 30
    assert park(scene, 1, 0) == 0
    assert park(scene, 2, 100) == 100


def test_2_8_nothing_is_lent_to_a_process_that_nobody_can_watch() -> None:
    scene = lot().hold(1, "video", 50)
    assert park(scene, 1, 1) == 0
    assert scene.state.parked == {}


def test_2_8_what_is_used_beyond_the_grant_is_taken() -> None:
    scene = lot().hold(1, "video", 50, pid=1).hold(2, "image", 50, pid=2)
    park(scene, 1, 10)
    scene.do(events.Heartbeat(stream=1, sequence=1, used=None, parked=60))
    scene.do(events.Heartbeat(stream=1, sequence=2, used=None))
    assert park(scene, 2, 41) == 0
    assert park(scene, 2, 40) == 40


def test_2_8_it_outlives_the_lease_and_ends_with_the_process() -> None:
    scene = lot().hold(1, "video", 50, pid=1)
    park(scene, 1, 60)
    scene.do(events.Release(stream=1)).hold(2, "image", 50, pid=2)
    assert park(scene, 2, 41) == 0
    scene.do(events.ProcessGone(process=process(1)))
    forgotten = [one.parking.bytes for one in scene.done if isinstance(one, effects.ForgetParking)]
    assert forgotten == [60]
    assert park(scene, 2, 100) == 100


@pytest.mark.parametrize(("room", "victim"), [(100, "video"), (49, "image")])
def test_7_1_weights_that_would_be_parked_are_cheaper_to_bring_back(room: int, victim: str) -> None:
    scene = lot(room).hold(1, "video", 50, pid=1, idle=True).hold(2, "image", 40, pid=2, idle=True)
    park(scene, 1, 40)
    park(scene, 1, 0)
    scene.acquire(3, "sam", 30)
    assert {lease.tenant for lease in scene.state.leases.values() if lease.reclaim} == {victim}


def test_parked_weights_come_back_from_the_record(tmp_path: Path) -> None:
    path = tmp_path / "arbiter.sqlite"
    kept, gone = (Parking(tenant=tenant, process=process(1), bytes=5) for tenant in ("video", "image"))
    store = LeaseStore(path)
    store.load(now=0.0, wall=0.0, boot_id="boot")
    store.apply([effects.SaveParking(parking=one) for one in (kept, gone)], now=0.0, wall=0.0)
    changes: list[effects.Change] = [
        effects.SaveParking(parking=replace(kept, bytes=7)),
        effects.ForgetParking(parking=gone),
    ]
    store.apply(changes, now=0.0, wall=0.0)
    store.close()
    for boot_id, expected in (("boot", {("video", process(1)): replace(kept, bytes=7)}), ("next boot", {})):
        store = LeaseStore(path)
        assert store.load(now=0.0, wall=0.0, boot_id=boot_id).parked == expected
        store.close()


def test_host_memory_is_lent_for_parking_only_beside_a_device_of_its_own(tmp_path: Path) -> None:
    settings = ArbiterSettings(home=tmp_path)
    host = Device(id="cpu:0", name="", total=10, reserve=1)
    assert parking_budget(settings, [host]) == 0
    assert parking_budget(settings, [replace(host, id="cuda:0", driver=True)]) > 1 << 20
    configured = ArbiterSettings(home=tmp_path, arbiter_parking_bytes=5)
    assert parking_budget(configured, [host]) == 5
