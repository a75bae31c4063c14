"""Broken ways of rules 6 to 8: the queue is served, and told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from milimo_arbiter import core, effects, memory, plan, queue, transition
from milimo_arbiter.forecast import is_noticeable
from milimo_arbiter.state import Sample

if TYPE_CHECKING:
    import pytest
    from milimo_arbiter.state import State, Waiter
    from milimo_arbiter.transition import Transition


def grant_in_the_grace_window(patch: pytest.MonkeyPatch) -> None:
    """The queue is served while holders may still come back."""

    def serve(change: Transition) -> None:
        until = change.state.grace_until
        change.state = replace(change.state, grace_until=None)
        original(change)
        change.state = replace(change.state, grace_until=until)

    original = core._serve
    patch.setattr(core, "_serve", serve)


def overcommit(patch: pytest.MonkeyPatch) -> None:
    """Two claims pass on one snapshot: the budget is looked at, the grants are not."""
    patch.setattr(plan, "room", lambda state, device_id, claim: state.devices[device_id].budget)


def count_the_same_memory_twice(patch: pytest.MonkeyPatch) -> None:
    """What holders use is taken off again beside what they were granted, so that nothing large ever fits."""

    def room(state: State, device_id: str, claim: Waiter) -> int:
        sample = state.devices[device_id].sample or Sample(at=0.0, used=0)
        used = sample.used or sum(lease.used or 0 for lease in state.leases.values())
        return original(state, device_id, claim) - used

    original = memory.room
    patch.setattr(plan, "room", room)


def count_its_own_memory_against_it(patch: pytest.MonkeyPatch) -> None:
    """A process waits for memory that it has itself."""
    patch.setattr(memory, "is_succeeded_by", lambda lease, claim: False)
    patch.setattr(transition, "is_succeeded_by", lambda lease, claim: False)


def reuse_tokens(patch: pytest.MonkeyPatch) -> None:
    """Tokens start again when nothing is held."""

    def grant(self: Transition, what: plan.Grant) -> None:
        if not self.state.leases:
            self.state = replace(self.state, tokens={})
        original(self, what)

    original = transition.Transition.grant
    patch.setattr(transition.Transition, "grant", grant)


def never_ask_the_busy(patch: pytest.MonkeyPatch) -> None:
    """A tenant with an endless queue of its own keeps the device for ever."""
    patch.setattr(plan, "may_be_asked", lambda lease, state, now: lease.turn is None)


def tell_nobody(patch: pytest.MonkeyPatch) -> None:
    """Those who wait do not hear that their place has changed."""

    def serve(change: Transition) -> None:
        since = len(change.effects)
        original(change)
        change.effects[since:] = [
            one
            for one in change.effects[since:]
            if not (isinstance(one, effects.Send) and isinstance(one.reply, effects.Queued) and one.reply.position > 1)
        ]

    original = core._serve
    patch.setattr(core, "_serve", serve)


def tell_without_end(patch: pytest.MonkeyPatch) -> None:
    """Those who wait hear of each second."""

    def noticeable(told: float | None, expected: float | None, now: float) -> bool:
        return is_noticeable(told, expected, now) or (told is not None and expected is not None and told < expected)

    patch.setattr(core, "is_noticeable", noticeable)


def serve_by_class_alone(patch: pytest.MonkeyPatch) -> None:
    """Waiting is worth nothing beside a higher class."""

    def in_order(state: State) -> tuple[Waiter, ...]:
        return tuple(sorted(state.waiters.values(), key=lambda one: (-one.request.priority, one.arrival)))

    for module in (core, plan, queue):
        patch.setattr(module, "in_order", in_order)
