"""What broken rules are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo_arbiter import core, events

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from milimo_arbiter.effects import Effect
    from milimo_arbiter.state import Lease, State
    from milimo_arbiter.transition import Transition


def without(change: Transition, kind: type[Effect], since: int) -> None:
    """Forgets the effects of a kind that came after the first so many."""
    change.effects[since:] = [one for one in change.effects[since:] if not isinstance(one, kind)]


def unseen(patch: pytest.MonkeyPatch, overlooks: Callable[[Transition, Lease], bool]) -> None:
    """Time passes without a look at some leases."""

    def pass_time(change: Transition) -> None:
        kept = [lease for lease in change.state.leases.values() if overlooks(change, lease)]
        for lease in kept:
            change.state = change.state.without_lease(lease.lease_id)
        original(change)
        for lease in kept:
            change.put(lease)

    original = core._pass_time
    patch.setattr(core, "_pass_time", pass_time)


def heard_otherwise(patch: pytest.MonkeyPatch, change_message: Callable[[events.Event], events.Event]) -> None:
    """Some events are taken for others."""

    def step(state: State, event: events.Event, now: float) -> tuple[State, tuple[Effect, ...]]:
        return original(state, change_message(event), now)

    original = core.step
    patch.setattr(core, "step", step)
