"""The order of those who wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo_arbiter.state import Priority

if TYPE_CHECKING:
    from milimo_arbiter.state import Policy, State, Waiter


def due(waiter: Waiter, policy: Policy) -> tuple[float, int]:
    """The key by which waiters are served, smallest first.

    A class of priority is a head start in time: NORMAL counts as if it had come `ageing_s` later than HIGH, LOW later
    by as much again. Waiting therefore raises everybody alike, nobody is passed by one who came more than two head
    starts later, and the order of two waiters never changes.
    """
    return waiter.since + (Priority.HIGH - waiter.request.priority) * policy.ageing_s, waiter.arrival


def in_order(state: State) -> tuple[Waiter, ...]:
    """The waiters in the order in which they will be served."""
    return tuple(sorted(state.waiters.values(), key=lambda waiter: due(waiter, state.policy)))
