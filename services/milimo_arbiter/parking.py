"""Rule 2.8 of `core`: host memory for weights that leave a device."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from milimo_arbiter.effects import Decided, ForgetParking, Parked, SaveParking
from milimo_arbiter.memory import parking_room
from milimo_arbiter.state import Parking

if TYPE_CHECKING:
    from milimo_arbiter.events import Park
    from milimo_arbiter.state import Lease, ProcessIdentity
    from milimo_arbiter.transition import Transition


def park(change: Transition, lease: Lease, message: Park) -> None:
    """Gives the tenant as much as it asks for, or leaves it what it has."""
    if lease.process is None:
        # Nobody could tell when its memory is free again.
        change.send(lease.stream, Parked(bytes=0))
        return
    key = (lease.tenant, lease.process)
    before = change.state.parked.get(key) or Parking(tenant=lease.tenant, process=lease.process)
    fits = message.bytes <= parking_room(change.state, key)
    size = message.bytes if fits else min(message.bytes, before.bytes)
    if size or before.bytes:
        # One with 0 bytes stays on record: its tenant is known to park, which makes it a cheaper victim.
        after = replace(before, bytes=size, used=None)
        change.state = replace(change.state, parked={**change.state.parked, key: after})
        change.effects.append(SaveParking(parking=after))
    if message.bytes:
        reason = "host memory for its weights" if size == message.bytes else "there is no host memory left to lend"
        change.effects.append(
            Decided(
                at=change.now,
                action="parked" if size == message.bytes else "not_parked",
                tenant=lease.tenant,
                device="host",
                bytes=message.bytes,
                reason=reason,
                fencing_token=lease.fencing_token,
            )
        )
    change.send(lease.stream, Parked(bytes=size))


def report_parked(change: Transition, lease: Lease, used: int | None) -> None:
    """The holder tells what it has parked; a heartbeat without it changes nothing."""
    if used is None or lease.process is None:
        return
    key = (lease.tenant, lease.process)
    parking = change.state.parked.get(key)
    if parking is not None and parking.used != used:
        change.state = replace(change.state, parked={**change.state.parked, key: replace(parking, used=used)})


def forget_parked(change: Transition, process: ProcessIdentity) -> None:
    """The process has ended, and its host memory with it."""
    gone = [one for key, one in change.state.parked.items() if key[1] == process]
    left = {key: one for key, one in change.state.parked.items() if key[1] != process}
    if gone:
        change.state = replace(change.state, parked=left)
        change.effects.extend(ForgetParking(parking=one) for one in gone)
