"""Weights that can be watched, and the tenants that load them."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any

from milimo_runtime.lease_terms import Grade, Grant
from milimo_runtime.residency import Residency
from milimo_runtime.turn_memory import TurnMemory

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from milimo.v1 import arbiter_pb2 as pb

    Started = Callable[[], AbstractAsyncContextManager[Any]]
    Check = Callable[[], None]
    Load = Callable[[Grant, Check], "Weights"]


PATIENCE_S = 20.0
# After so long without an answer the arbiter of these tests takes a holder for lost.
TTL_S = 2.0


class Weights:
    """A model that can be watched as it goes."""

    def __init__(self, grant: Grant) -> None:
        self.grant = grant


class Loader:
    """Loads weights and remembers how often, and which are still there."""

    def __init__(self) -> None:
        self.loaded: list[weakref.ref[Weights]] = []

    def __call__(self, grant: Grant, check: Check) -> Weights:
        weights = Weights(grant)
        self.loaded.append(weakref.ref(weights))
        return weights

    @property
    def alive(self) -> int:
        return sum(reference() is not None for reference in self.loaded)


def residency(arbiter: Any, tenant: str, size: int, load: Load) -> Residency[Weights]:
    return Residency(
        loop=asyncio.get_running_loop(),
        channel=arbiter.channel,
        tenant=tenant,
        grades=[Grade(name="whole", bytes=size)],
        load=load,
        memory=TurnMemory(lambda: size),
    )


def has(state: pb.LeaseState.ValueType, tenant: str) -> Callable[[pb.ArbiterStatus], bool]:
    return lambda status: any(lease.tenant == tenant and lease.state == state for lease in status.leases)


def nothing_held(status: pb.ArbiterStatus) -> bool:
    return not status.leases and not status.queue
