"""Broken ways of rule 5: a device was measured, a program was looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from milimo_arbiter import core, events, memory, plan
from milimo_arbiter.state import Quarantine

if TYPE_CHECKING:
    import pytest
    from milimo_arbiter.effects import Effect
    from milimo_arbiter.state import Lease, State, Waiter
    from milimo_arbiter.transition import Transition


def believe_stale_samples(patch: pytest.MonkeyPatch) -> None:
    """A reading that is older than the end of the lease frees its memory."""

    def still_there(state: State, lease: Lease) -> int | None:
        sample = state.devices[lease.device].sample
        if sample is None or lease.quarantine is None:
            return None
        early = replace(
            lease, quarantine=Quarantine(since=-1.0, reason="", released=lease.quarantine.released), expires_at=-1.0
        )
        return original(state, early)

    original = memory.still_there
    patch.setattr(core, "still_there", still_there)


def believe_samples_of_holders_that_may_load(patch: pytest.MonkeyPatch) -> None:
    """A revoked holder that has not heard of it yet loads into memory that was measured free."""

    def still_there(state: State, lease: Lease) -> int | None:
        return original(state, replace(lease, expires_at=-1.0))

    original = memory.still_there
    patch.setattr(core, "still_there", still_there)


def believe_no_samples(patch: pytest.MonkeyPatch) -> None:
    """Memory that was measured free is never lent again."""
    patch.setattr(core, "still_there", lambda state, lease: None)


def go_back_in_time(patch: pytest.MonkeyPatch) -> None:
    """A reading replaces one that was begun after it."""

    def measure(change: Transition, event: events.Sampled) -> None:
        device = change.state.devices[event.device]
        earlier = {**change.state.devices, event.device: replace(device, sample=None)}
        change.state = replace(change.state, devices=earlier)
        original(change, event)

    original = core._measure
    patch.setattr(core, "_measure", measure)


def overlook_programs(patch: pytest.MonkeyPatch) -> None:
    """What programs hold that are no tenants is lent."""

    def room(state: State, device_id: str, claim: Waiter) -> int:
        return original(replace(state, externals={}), device_id, claim)

    original = memory.room
    patch.setattr(plan, "room", room)


def never_ask_programs(patch: pytest.MonkeyPatch) -> None:
    """A program that is no tenant keeps what it has."""
    patch.setattr(plan, "_programs", lambda state, device, evicts, now: ())


def ask_programs_for_ever(patch: pytest.MonkeyPatch) -> None:
    """A program that has given everything back counts as asked still."""

    def step(state: State, event: events.Event, now: float) -> tuple[State, tuple[Effect, ...]]:
        after, done = original(state, event, now)
        if isinstance(event, events.ExternalSeen) and (before := state.externals.get(event.name)) is not None:
            seen = replace(after.externals[event.name], asked_at=before.asked_at)
            after = replace(after, externals={**after.externals, event.name: seen})
        return after, done

    original = core.step
    patch.setattr(core, "step", step)
