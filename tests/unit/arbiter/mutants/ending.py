"""Broken ways of rules 3 and 4: something is gone, or an operator decides."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from milimo_arbiter import core, events, plan, transition

from .patching import heard_otherwise

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from milimo_arbiter.transition import Transition


def lost_otherwise(patch: pytest.MonkeyPatch, lose: Callable[[Callable[..., None], Transition, int], None]) -> None:
    """`lose` gets the original first."""
    original = core._lose_stream
    patch.setattr(core, "_lose_stream", lambda change, stream: lose(original, change, stream))


def keep_waiters_that_have_gone(patch: pytest.MonkeyPatch) -> None:
    """A waiter keeps its place when its stream has ended."""

    def lose_stream(original: Callable[..., None], change: Transition, stream: int) -> None:
        if stream not in change.state.waiters:
            original(change, stream)

    lost_otherwise(patch, lose_stream)


def keep_dead_offers(patch: pytest.MonkeyPatch) -> None:
    """A grant to a waiter that has gone stays granted."""

    def lose_stream(original: Callable[..., None], change: Transition, stream: int) -> None:
        lease = change.state.lease_on(stream)
        if lease is not None and not lease.confirmed:
            change.put(replace(lease, stream=None))
        else:
            original(change, stream)

    lost_otherwise(patch, lose_stream)


def take_back_what_is_held(patch: pytest.MonkeyPatch) -> None:
    """A lease that was granted at once, and is used already, counts as an offer that nobody has answered."""

    def grant(self: Transition, what: plan.Grant) -> None:
        original(self, what)
        lease = next(one for one in self.state.leases.values() if one.stream == what.waiter.stream)
        self.put(replace(lease, confirmed=False))

    original = transition.Transition.grant
    patch.setattr(transition.Transition, "grant", grant)


def free_lost_streams(patch: pytest.MonkeyPatch) -> None:
    """A broken stream counts as a release."""

    def lose_stream(original: Callable[..., None], change: Transition, stream: int) -> None:
        lease = change.state.lease_on(stream)
        if lease is None:
            original(change, stream)
        else:
            change.free(lease, "freed", "")

    lost_otherwise(patch, lose_stream)


def ignore_the_dead(patch: pytest.MonkeyPatch) -> None:
    """The end of a process frees nothing."""
    heard_otherwise(patch, lambda event: events.Tick() if isinstance(event, events.ProcessGone) else event)


def ignore_operators(patch: pytest.MonkeyPatch) -> None:
    """A revocation does nothing."""
    patch.setattr(core, "_revoke", lambda change, event: None)


def free_by_word_of_mouth(patch: pytest.MonkeyPatch) -> None:
    """An operator's second revocation frees the memory of a process that lives."""

    def revoke(change: Transition, event: events.Revoke) -> None:
        lease = change.state.leases.get(event.lease_id)
        if lease is not None and lease.quarantine is not None:
            change.free(lease, "freed", event.reason)
        else:
            original(change, event)

    original = core._revoke
    patch.setattr(core, "_revoke", revoke)


def reclaim_nothing(patch: pytest.MonkeyPatch) -> None:
    """Idle holders are not asked by an operator."""
    patch.setattr(core, "_reclaim_idle", lambda change, event: None)


def reclaim_from_the_busy(patch: pytest.MonkeyPatch) -> None:
    """Busy holders are asked by an operator, too."""

    def reclaim(change: Transition, event: events.ReclaimIdle) -> None:
        original(change, event)
        for lease in list(change.state.leases.values()):
            if lease.turn is not None and lease.reclaim is None and lease.quarantine is None:
                change.ask(lease, lease.bytes, "operator")

    original = core._reclaim_idle
    patch.setattr(core, "_reclaim_idle", reclaim)
