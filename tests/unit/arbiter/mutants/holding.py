"""Broken ways of rule 2: a holder speaks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from milimo_arbiter import admission, core, events, learning, parking
from milimo_arbiter import state as state_module
from milimo_arbiter.simulation import world

from .patching import heard_otherwise

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from milimo_arbiter.state import Lease, State
    from milimo_arbiter.transition import Transition


def heard(patch: pytest.MonkeyPatch, hear: Callable[[Callable[..., None], Transition, Any], None]) -> None:
    """`hear` gets the original first."""
    original = core._hear
    patch.setattr(core, "_hear", lambda change, message: hear(original, change, message))


def say_nothing_to_strangers(patch: pytest.MonkeyPatch) -> None:
    """Who speaks without a lease hears nothing."""

    def hear(original: Callable[..., None], change: Transition, message: events.Message) -> None:
        if change.state.lease_on(message.stream) is not None or message.stream in change.state.waiters:
            original(change, message)

    heard(patch, hear)


def keep_who_withdraws(patch: pytest.MonkeyPatch) -> None:
    """Who releases what it does not have yet goes on waiting."""

    def hear(original: Callable[..., None], change: Transition, message: events.Message) -> None:
        if message.stream not in change.state.waiters:
            original(change, message)

    heard(patch, hear)


def revive(patch: pytest.MonkeyPatch) -> None:
    """A late heartbeat renews a lease that is over."""

    def hear(original: Callable[..., None], change: Transition, message: events.Message) -> None:
        lease = change.state.lease_on(message.stream)
        if lease is not None and isinstance(message, events.Heartbeat):
            change.put(replace(lease, quarantine=None, expires_at=change.now + change.state.policy.ttl_s))
        original(change, message)

    heard(patch, hear)


def forget_use_by_silence(patch: pytest.MonkeyPatch) -> None:
    """A heartbeat without a measurement counts as one of nothing."""

    def silent(event: events.Event) -> events.Event:
        return replace(event, used=event.used or 0) if isinstance(event, events.Heartbeat) else event

    heard_otherwise(patch, silent)


def confirm_nothing(patch: pytest.MonkeyPatch) -> None:
    """An offer that was answered counts as one that was not."""

    def hear(original: Callable[..., None], change: Transition, message: events.Message) -> None:
        before = change.state.lease_on(message.stream)
        original(change, message)
        after = change.state.lease_on(message.stream)
        if before is not None and after is not None and after.quarantine is None:
            change.put(replace(after, confirmed=before.confirmed))

    heard(patch, hear)


def shrink_to_nothing(patch: pytest.MonkeyPatch) -> None:
    """A holder may shrink by all that it has."""

    def shrink(change: Transition, lease: Lease, message: events.Shrink) -> None:
        original(change, lease, replace(message, bytes=min(message.bytes, lease.bytes - 1)))

    original = core._shrink
    patch.setattr(core, "_shrink", shrink)


def ask_again_for_what_came(patch: pytest.MonkeyPatch) -> None:
    """A wish stands though the holder has shrunk by as much."""

    def shrink(change: Transition, lease: Lease, message: events.Shrink) -> None:
        original(change, lease, message)
        smaller = change.state.leases[lease.lease_id]
        if lease.reclaim is not None and smaller.reclaim is None:
            change.put(replace(smaller, reclaim=lease.reclaim))

    original = core._shrink
    patch.setattr(core, "_shrink", shrink)


def give_the_idle_a_busy_deadline(patch: pytest.MonkeyPatch) -> None:
    """A holder whose turn is over may take as long as before."""

    def end_turn(change: Transition, lease: Lease) -> None:
        change.put(replace(lease, turn=None, last_used=change.now))

    patch.setattr(core, "_end_turn", end_turn)


def count_no_turns(patch: pytest.MonkeyPatch) -> None:
    """A batch never ends by its turns."""

    def begin_turn(change: Transition, lease: Lease, message: events.Busy) -> None:
        original(change, lease, message)
        change.put(replace(change.state.leases[lease.lease_id], turns=lease.turns))

    original = core._begin_turn
    patch.setattr(core, "_begin_turn", begin_turn)


def buy_time_with_turns(patch: pytest.MonkeyPatch) -> None:
    """Each turn that begins has the whole deadline again."""

    def begin_turn(change: Transition, lease: Lease, message: events.Busy) -> None:
        original(change, lease, message)
        after = change.state.leases[lease.lease_id]
        if after.reclaim is not None:
            deadline = change.now + change.state.policy.busy_deadline_s
            change.put(replace(after, reclaim=replace(after.reclaim, deadline=deadline)))

    original = core._begin_turn
    patch.setattr(core, "_begin_turn", begin_turn)


def believe_releases(patch: pytest.MonkeyPatch) -> None:
    """Released memory is lent again before the driver has it back."""

    def release(change: Transition, lease: Lease) -> None:
        change.free(lease, "released", "")

    patch.setattr(core, "_release", release)


def lend_released_memory(patch: pytest.MonkeyPatch) -> None:
    """The same, with an answer: only the memory shows it."""

    def release(change: Transition, lease: Lease) -> None:
        devices = {key: replace(one, driver=False) for key, one in change.state.devices.items()}
        kept, change.state = change.state.devices, replace(change.state, devices=devices)
        original(change, lease)
        change.state = replace(change.state, devices=kept)

    original = core._release
    patch.setattr(core, "_release", release)


def park_what_others_have(patch: pytest.MonkeyPatch) -> None:
    """Host memory is lent twice: each tenant's own parked weights are all that is looked at."""
    patch.setattr(parking, "parking_room", lambda state, key: state.parking_budget)


def forget_who_parks(patch: pytest.MonkeyPatch) -> None:
    """An arbiter that has restarted knows nothing of what is parked."""

    def restored(*known: Any, parked: object, **more: Any) -> State:
        return original(*known, parked={}, **more)

    original = state_module.restored
    patch.setattr(world, "restored", restored)


def keep_to_what_is_configured(patch: pytest.MonkeyPatch) -> None:
    """What was measured is never used."""
    patch.setattr(admission, "with_peaks", lambda state, request: request)


def learn_the_least(patch: pytest.MonkeyPatch) -> None:
    """One turn that needed little is taken for all of its kind to come, one that needed more is not."""

    def learn(change: Transition, lease: Lease, measured: int) -> None:
        known = change.state.peaks.get((lease.workload, lease.footprint)) if lease.workload else None
        original(change, lease, measured if known is None else min(known, measured))

    original = learning.learn
    patch.setattr(core, "learn", learn)


def learn_no_lengths(patch: pytest.MonkeyPatch) -> None:
    """Nobody knows how long turns take."""
    patch.setattr(core, "learn_length", lambda change, lease: None)
