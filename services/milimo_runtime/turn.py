"""A job's turn on resident weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from milimo_runtime.lease_terms import Grant, LeaseLost
from milimo_runtime.out_of_memory import nobody_minds

if TYPE_CHECKING:
    from collections.abc import Callable

    from milimo_runtime.lease import Lease
    from milimo_runtime.lease_terms import ReclaimWish
    from milimo_runtime.out_of_memory import Room

M = TypeVar("M")
T = TypeVar("T")


class Turn(Generic[M]):
    """A job's turn: the model is loaded, and the lease is held for as long as `check` says so."""

    def __init__(
        self,
        model: M,
        lease: Lease,
        min_hold_s: float,
        clock: Callable[[], float],
        *,
        give_spare: Callable[[], None],
        room: Room,
    ) -> None:
        self._model: M | None = model
        self._lease = lease
        self._yield_from = lease.held_since + min_hold_s
        self._clock = clock
        # Whether the turn shows what its work needs; it does not when the work was found done.
        self.computed = True
        # The wish that was last looked at.
        self._heard: ReclaimWish | None = None
        self._give_spare = give_spare
        self._room = room

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
        """Raises LeaseLost when the device may no longer be used. Called at each step; costs a microsecond.

        When memory is wanted back that the turn can do without, it goes now, and the turn goes on.
        """
        if self._model is None:
            raise LeaseLost("the turn is over")
        self._lease.check()
        wish = self._lease.wish
        if wish is not None and wish is not self._heard:
            self._heard = wish
            self._give_spare()

    @property
    def should_yield(self) -> bool:
        """Whether somebody waits for the memory: end the turn at the next boundary, and take another one to go on."""
        return self._lease.wish is not None and self._clock() >= self._yield_from

    def with_room(self, work: Callable[[], T], on_short: Callable[[str], None] = nobody_minds) -> T:
        """Does `work`, and once more if memory runs out, after others made room; `on_short` hears why.

        Raises:
            OutOfMemory: it ran out again; the message says who holds what.
            LeaseLost: the lease was lost meanwhile.
        """

        return self._room.try_twice(work, on_short)

    def end(self) -> None:
        """Lets go of the model."""
        self._model = None
