"""The weights of one tenant in this process: on the device, parked in host memory, or nowhere."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from milimo_runtime.job_trace import Swap
from milimo_runtime.lease_terms import LeaseLost
from milimo_runtime.memory import Departure, give_back
from milimo_runtime.parking import Layout, NotParkable, Parked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import torch

    from milimo_runtime.lease_terms import Grant

log = logging.getLogger(__name__)

M = TypeVar("M")

# How long the weights of a turn that has ended may still be referred to, in seconds.
_DEPARTURE_S: Final = 30.0


class Resident(Generic[M]):
    """Loads, parks, restores and drops a model. Used by whoever has the turn."""

    def __init__(
        self,
        tenant: str,
        *,
        load: Callable[[Grant, Callable[[], None]], M],
        size_of: Callable[[M], int],
        modules_of: Callable[[M], Iterable[torch.nn.Module]],
        drop_caches: Callable[[M], None],
        clock: Callable[[], float],
    ) -> None:
        """Nothing is there yet; the callables are those of `Residency`."""
        self._tenant = tenant
        self._load = load
        self._size_of = size_of
        self._modules_of = modules_of
        self._drop_caches = drop_caches
        self._clock = clock
        self._model: M | None = None
        # The grant under which the weights are on the device, or were before they were parked.
        self._grant: Grant | None = None
        self._parked: Parked | None = None
        # The highest fencing token under which weights came, by device.
        self._tokens: dict[str, int] = {}
        self._leaving: Swap | None = None

    @property
    def model(self) -> M | None:
        """The model while its weights are on the device."""
        return self._model if self._parked is None else None

    @property
    def parked_bytes(self) -> int:
        """Bytes of host memory that hold parked weights."""
        return 0 if self._parked is None else self._parked.bytes

    def bring(self, grant: Grant, check: Callable[[], None]) -> M:
        """Restores or loads the weights as granted. What `check` raises between the parts passes.

        Raises:
            LeaseLost: weights came here under a later grant before.
        """
        latest = self._tokens.get(grant.device, 0)
        if grant.fencing_token < latest:
            raise LeaseLost(
                f"the fencing token {grant.fencing_token} of {grant.device} is older than {latest}, under which "
                f"weights of {self._tenant} came before"
            )
        self._tokens[grant.device] = grant.fencing_token
        before, parked, model = self._grant, self._parked, self._model
        if parked is not None and model is not None and before is not None:
            if (before.device, before.grade) == (grant.device, grant.grade):
                with Swap("restore", self._tenant, self._clock, size=parked.bytes):
                    parked.restore(check)
                self._parked, self._grant = None, grant
                log.info("weights restored", extra=self._told("weights_restored", **asdict(grant)))
                return model
            # They are another grade's, or their modules remember another device.
            del model
            self.forget_parked()
        with Swap("load", self._tenant, self._clock) as swap:
            loaded = self._load(grant, check)
            swap.size = self._size_of(loaded)
        # A holder that was paused while it loaded must not go on with what is somebody else's by now.
        check()
        self._model, self._grant = loaded, grant
        return loaded

    def shrink(self, fits: Callable[[], bool] = lambda: False, *, may_drop_caches: bool = True) -> bool:
        """Gives back what is kept beside the weights, until it `fits`; whether it does.

        First what the allocators keep and nobody uses; then, where that is allowed, what can be made again.
        """
        give_back()
        if not fits() and may_drop_caches and self._model is not None:
            self._drop_caches(self._model)
            give_back()
        return fits()

    def park(self, ask: Callable[[int], int]) -> bool:
        """Moves the weights to host memory if `ask` grants it; whether they are there.

        `ask` is given bytes of host memory and answers with those that are granted. When they do not suffice, or the
        weights cannot be moved, these are where they were.
        """
        model = self._model
        if model is None or self._parked is not None:
            return False
        self._drop_caches(model)
        try:
            layout = Layout(self._modules_of(model))
        except NotParkable as error:
            log.warning("weights cannot be parked", extra=self._told("not_parkable", reason=str(error)))
            return False
        if layout.bytes == 0:
            return False
        granted = ask(layout.bytes)
        if granted < layout.bytes:
            log.info("weights not parked", extra=self._told("not_parked", bytes=layout.bytes, granted=granted))
            return False
        try:
            with Swap("park", self._tenant, self._clock, size=layout.bytes):
                self._parked = Parked(layout)
        except (MemoryError, RuntimeError) as error:
            log.warning("weights not parked", exc_info=error, extra=self._told("not_parked", bytes=layout.bytes))
            return False
        del layout, model
        give_back()
        log.info("weights parked", extra=self._told("weights_parked", bytes=self.parked_bytes))
        return True

    def drop(self) -> Departure:
        """Lets go of the weights here, wherever they are."""
        if self._model is not None and self._parked is None:
            self._leaving = Swap("unload", self._tenant, self._clock, size=self._size_of(self._model))
        if self._parked is not None:
            self._parked.drop()
            self._parked = None
        model, self._model = self._model, None
        departure = Departure(model)
        del model
        give_back()
        return departure

    def forget_parked(self) -> None:
        """Drops the weights if they are parked."""
        if self._parked is not None:
            self.drop()

    def see_off(self, departure: Departure, failure: BaseException | None = None) -> None:
        """Waits until dropped weights are gone; `failure` is that in which they were in use, if there was one."""
        if not departure.gone:
            if not departure.wait(_DEPARTURE_S, failure):
                log.error(
                    "weights are still referred to after their turn: their memory is released while it is in use",
                    extra={"action": "weights_kept", "tenant": self._tenant},
                )
            give_back()
        if self._leaving is not None:
            self._leaving.done()
            self._leaving = None

    def _told(self, action: str, **more: object) -> dict[str, object]:
        return {"action": action, "tenant": self._tenant, **more}
