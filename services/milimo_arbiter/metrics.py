"""What the arbiter tells of the memory that it lends, whenever metrics are exported: read from its state as it is."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from milimo_runtime.metrics import DEVICE, Instrument, observe

from milimo_arbiter.decisions import DECISIONS
from milimo_arbiter.memory import ledger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from milimo_arbiter.loop import Arbiter

_MEMORY: Final[Mapping[str, str]] = {
    "budget": "Bytes that may be granted",
    "granted": "Bytes of leases that are held",
    "quarantined": "Bytes of leases that are over and not measured free",
    "external": "Bytes in use by processes that are no tenants",
    "measured": "Bytes in use, as measured; nothing is told while nobody measures",
    "free": "Bytes that could be granted now",
}
MEMORY: Final[Mapping[str, Instrument]] = {
    column: Instrument(name=f"milimo.memory.{column}", unit="By", attributes=(DEVICE,), description=text)
    for column, text in _MEMORY.items()
}
PARKED: Final = Instrument(
    name="milimo.memory.parked", unit="By", attributes=(), description="Bytes of host memory lent for parked weights"
)
LEASES: Final = Instrument(
    name="milimo.arbiter.leases", unit="{lease}", attributes=(DEVICE,), description="Leases that hold bytes"
)
QUEUE_DEPTH: Final = Instrument(
    name="milimo.arbiter.queue.depth", unit="{request}", description="Requests that wait for memory"
)
INSTRUMENTS: Final = (*MEMORY.values(), PARKED, LEASES, QUEUE_DEPTH, DECISIONS)


def export_metrics(arbiter: Arbiter) -> None:
    """Makes the arbiter's levels part of the process's metrics. States are frozen: any thread may read them."""
    for column, instrument in MEMORY.items():
        observe(instrument, partial(_memory, arbiter, column))
    observe(PARKED, lambda: [(sum(parking.bytes for parking in arbiter.state.parked.values()), {})])
    observe(LEASES, partial(_leases, arbiter))
    observe(QUEUE_DEPTH, lambda: [(len(arbiter.state.waiters), {})])


def _memory(arbiter: Arbiter, column: str) -> Sequence[tuple[int, Mapping[str, str]]]:
    state = arbiter.state
    levels = [(getattr(ledger(state, device), column), {DEVICE: device}) for device in state.devices]
    return [(value, attributes) for value, attributes in levels if value is not None]


def _leases(arbiter: Arbiter) -> Sequence[tuple[int, Mapping[str, str]]]:
    state = arbiter.state
    return [
        (sum(lease.device == device for lease in state.leases.values()), {DEVICE: device}) for device in state.devices
    ]
