"""What turns need, as measured, and what of a lease is spare."""

from __future__ import annotations

from dataclasses import dataclass

from milimo_runtime.lease_terms import Grade, Workload
from milimo_runtime.turn_memory import TurnMemory

GRADE = Grade(name="bf16", bytes=700)
SMALL = Workload(model="ltx", width=64, height=64, frames=9)
LARGE = Workload(model="ltx", width=128, height=64, frames=9)


@dataclass
class Device:
    """A device whose turns take `peak` bytes at most."""

    peak: int | None = None
    begun: int = 0

    def begin(self) -> None:
        self.begun += 1


def memory_of(device: Device) -> TurnMemory:
    return TurnMemory(lambda: 500, begin_peak=device.begin, peak=lambda: device.peak)


def turn(memory: TurnMemory, device: Device, workload: Workload | None, peak: int | None, *, ends: bool = True) -> None:
    memory.begin(workload, "bf16")
    device.peak = peak
    memory.end(complete=ends)


def test_a_peak_is_told_once_and_makes_the_rest_spare() -> None:
    device = Device()
    memory = memory_of(device)
    assert memory.spare(700) == 0, "nothing is known"
    turn(memory, device, SMALL, 400)
    assert (memory.take_peak(), memory.take_peak()) == (400, 0)
    assert (memory.spare(700), memory.spare(420), memory.spare(300)) == (280, 0, 0)
    assert memory.used() == 500
    assert device.begun == 1


def test_a_turn_that_broke_off_or_measured_nothing_teaches_nothing() -> None:
    device = Device()
    memory = memory_of(device)
    turn(memory, device, SMALL, 400, ends=False)
    turn(memory, device, SMALL, None)
    turn(memory, device, None, 400)
    assert (memory.take_peak(), memory.spare(700)) == (0, 0)
    assert device.begun == 2, "nobody asks for the peak of what has no name"


def test_a_turn_fits_on_what_it_was_measured_to_need_else_on_the_estimate() -> None:
    device = Device()
    memory = memory_of(device)
    assert not memory.fits(SMALL, GRADE, 699)
    assert memory.fits(SMALL, GRADE, 700)
    turn(memory, device, SMALL, 400)
    assert memory.fits(SMALL, GRADE, 400)
    assert not memory.fits(SMALL, GRADE, 399)
    assert not memory.fits(LARGE, GRADE, 400)
    assert not memory.fits(None, GRADE, 400)
    turn(memory, device, SMALL, 800)
    assert not memory.fits(SMALL, GRADE, 700), "it needs more than was estimated"
    memory.granted(SMALL, GRADE, 750)
    assert memory.fits(SMALL, GRADE, 750), "nobody has more for it"


def test_what_the_arbiter_has_learned_from_an_earlier_process_counts() -> None:
    memory = memory_of(Device())
    memory.granted(SMALL, GRADE, 450)
    memory.granted(LARGE, GRADE, 700)
    assert memory.fits(SMALL, GRADE, 450)
    assert not memory.fits(LARGE, GRADE, 450)


def test_a_request_names_the_largest_of_the_latest_workloads() -> None:
    device = Device()
    memory = memory_of(device)
    assert memory.claimed(None) is None
    assert memory.claimed(SMALL) == SMALL
    turn(memory, device, LARGE, 600)
    assert memory.claimed(SMALL) == SMALL, "what it needs is not known: the estimate may be more"
    turn(memory, device, SMALL, 400)
    assert memory.claimed(SMALL) == LARGE
    for _ in range(8):
        turn(memory, device, SMALL, 400)
    assert memory.claimed(SMALL) == SMALL, "it was long ago"
