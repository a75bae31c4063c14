"""A job's turn on resident weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from milimo_runtime.lease_terms import Grant, LeaseLost
from milimo_runtime.out_of_memory import with_room

if TYPE_CHECKING:
    from collections.abc import Callable

    from milimo_runtime.lease import Lease

M = TypeVar("M")
T = TypeVar("T")


def _nobody_minds(problem: str) -> None:
    """Nobody wants to know that memory ran out."""


class Turn(Generic[M]):
    """A job's turn: the model is loaded, and the lease is held for as long as `check` says so."""

    def __init__(
        self,
        model: M,
        lease: Lease,
        min_hold_s: float,
        clock: Callable[[], float],
        *,
        make_room: Callable[[str], None],
        holders: Callable[[], str],
    ) -> None:
        self._model: M | None = model
        self._lease = lease
        self._yield_from = lease.held_since + min_hold_s
        self._clock = clock
        self._make_room = make_room
        self._holders = holders

    @property
    def model(self) -> M:
        """The model. Keep no reference to it past the turn, or its memory cannot be given back."""
        if self._model is None:
            raise LeaseLost("the turn is over")
        return self._model

    @property
    def grant(self) -> Grant:
        """What the model runs on."""
        return self._lease.grant

    def check(self) -> None:
        """Raises LeaseLost when the device may no longer be used. Called at each step; costs a microsecond."""
        if self._model is None:
            raise LeaseLost("the turn is over")
        self._lease.check()

    @property
    def should_yield(self) -> bool:
        """Whether somebody waits for the memory: end the turn at the next boundary, and take another one to go on."""
        return self._lease.wish is not None and self._clock() >= self._yield_from

    def with_room(self, work: Callable[[], T], on_short: Callable[[str], None] = _nobody_minds) -> T:
        """Does `work`, and once more if memory runs out, after others made room; `on_short` hears why.

        Raises:
            OutOfMemory: it ran out again; the message says who holds what.
            LeaseLost: the lease was lost meanwhile.
        """

        def make_room(problem: str) -> None:
            on_short(problem)
            self._make_room(problem)

        return with_room(work, make_room=make_room, holders=self._holders)

    def end(self) -> None:
        """Lets go of the model."""
        self._model = None
