"""Broken ways of rule 0: time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from milimo_arbiter import core, effects, events, transition

from .patching import unseen, without

if TYPE_CHECKING:
    import pytest
    from milimo_arbiter.state import Lease
    from milimo_arbiter.transition import Transition


def no_grace(patch: pytest.MonkeyPatch) -> None:
    """An arbiter that has restarted grants before its holders are back."""

    def end_grace(change: Transition) -> None:
        change.state = replace(change.state, grace_until=None)

    patch.setattr(core, "_end_grace", end_grace)


def endless_grace(patch: pytest.MonkeyPatch) -> None:
    """The window goes on when everybody is back."""

    def end_grace(change: Transition) -> None:
        if change.state.grace_until is not None and change.now >= change.state.grace_until:
            change.state = replace(change.state, grace_until=None)

    patch.setattr(core, "_end_grace", end_grace)


def never_expire(patch: pytest.MonkeyPatch) -> None:
    """A holder that is silent for longer than its TTL keeps its lease."""
    unseen(patch, lambda change, lease: lease.quarantine is None and change.now >= lease.expires_at)


def keep_unanswered_offers(patch: pytest.MonkeyPatch) -> None:
    """An offer that nobody ever answered is quarantined like a lease that was used."""

    def take_away(self: Transition, lease: Lease, action: str, reason: str) -> None:
        original(self, replace(lease, confirmed=True), action, reason)

    original = transition.Transition.take_away
    patch.setattr(transition.Transition, "take_away", take_away)


def forget_quarantine(patch: pytest.MonkeyPatch) -> None:
    """A lost holder's memory is lent again while it is still there, and its task still runs."""

    def take_away(self: Transition, lease: Lease, action: str, reason: str) -> None:
        self.free(lease, action, reason)

    patch.setattr(transition.Transition, "take_away", take_away)


def overlook_deadlines(patch: pytest.MonkeyPatch) -> None:
    """A holder that was asked takes its time."""
    unseen(patch, lambda change, lease: lease.reclaim is not None and change.now < lease.expires_at)


def punish_for_nothing(patch: pytest.MonkeyPatch) -> None:
    """A deadline that passes costs the lease, though nobody waits any more."""

    def pass_time(change: Transition) -> None:
        for lease in list(change.state.leases.values()):
            if lease.reclaim is not None and lease.reclaim.deadline <= change.now < lease.expires_at:
                change.take_away(lease, "revoked", "late")
        original(change)

    original = core._pass_time
    patch.setattr(core, "_pass_time", pass_time)


def kill_nobody(patch: pytest.MonkeyPatch) -> None:
    """The time to kill passes."""

    def pass_time(change: Transition) -> None:
        original(change)
        without(change, effects.Kill, 0)

    original = core._pass_time
    patch.setattr(core, "_pass_time", pass_time)


def kill_who_was_revoked(patch: pytest.MonkeyPatch) -> None:
    """An operator's revocation kills, too."""

    def revoke(change: Transition, event: events.Revoke) -> None:
        original(change, event)
        over = change.state.leases.get(event.lease_id)
        if over is not None and over.quarantine is not None:
            change.save(replace(over, quarantine=replace(over.quarantine, kill_at=change.now + 5.0)))

    original = core._revoke
    patch.setattr(core, "_revoke", revoke)


def kill_who_has_released(patch: pytest.MonkeyPatch) -> None:
    """A late holder that has released meanwhile is killed all the same."""

    def quarantine(self: Transition, lease: Lease, action: str, reason: str, *, released: bool = False) -> None:
        original(self, lease, action, reason, released=released)
        over = self.state.leases[lease.lease_id]
        if lease.quarantine is not None and over.quarantine is not None:
            self.save(replace(over, quarantine=replace(over.quarantine, kill_at=lease.quarantine.kill_at)))

    original = transition.Transition.quarantine
    patch.setattr(transition.Transition, "quarantine", quarantine)


def forget_to_kill(patch: pytest.MonkeyPatch) -> None:
    """The next arbiter does not know whom this one was about to kill."""

    def save(self: Transition, lease: Lease) -> None:
        if lease.quarantine is not None and lease.quarantine.kill_at is not None:
            self.put(lease)
        else:
            original(self, lease)

    original = transition.Transition.save
    patch.setattr(transition.Transition, "save", save)
