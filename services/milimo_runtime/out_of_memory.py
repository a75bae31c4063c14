"""When a device or the host has no memory left for a piece of work: make room, try once more, then say who has it."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
import grpc.aio
from milimo.v1 import arbiter_pb2, arbiter_pb2_grpc

from milimo_runtime.errors import ResourceExhausted
from milimo_runtime.memory import clear_ended_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from milimo_runtime.lease import Lease

log = logging.getLogger(__name__)

T = TypeVar("T")

# How long it is waited for others to give back what they were asked for, and for the arbiter's answers, in seconds.
_ROOM_S: Final = 15.0
_ANSWER_S: Final = 2.0
# How torch's allocator for host memory begins to say that there is none; it has no class of its own for that.
_HOST_ALLOCATOR: Final = "DefaultCPUAllocator: can't allocate memory"


class OutOfMemory(ResourceExhausted):
    """The work needs more memory than there is, also after others made room."""

    default_reason = "OUT_OF_MEMORY"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator has refused: torch's for a device or for the host, or Python's."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _HOST_ALLOCATOR in str(error))


def nobody_minds(problem: str) -> None:
    """Nobody wants to know that memory ran out."""


class Room:
    """What is done about it under one lease, in the thread that has the turn."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        on_loop: Callable[[Coroutine[None, None, Any]], Any],
        tenant: str,
        lease: Lease,
        shrink: Callable[[], object],
    ) -> None:
        """`on_loop` has the channel's loop do something and waits for it; `shrink` drops what the tenant can spare."""
        self._channel = channel
        self._on_loop = on_loop
        self._tenant = tenant
        self._lease = lease
        self._shrink = shrink

    def try_twice(self, work: Callable[[], T], on_short: Callable[[str], None] = nobody_minds) -> T:
        """Does `work`; if it runs out of memory, once more after all that nobody uses has gone. `on_short` hears why.

        Raises:
            OutOfMemory: the second time failed too; the message says who holds what.
            LeaseLost: the lease was lost meanwhile.
        """
        device = self._lease.grant.device
        try:
            return work()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            problem = _first_line(error)
            # What the failed work had in memory must go before room is made.
            clear_ended_frames(error)
        told = {"action": "out_of_memory", "tenant": self._tenant, "device": device, "problem": problem}
        log.warning("out of memory: makes room and tries once more", extra=told)
        on_short(problem)
        self._shrink()
        self._on_loop(reclaim(self._channel, device))
        self._lease.check()
        try:
            return work()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            problem = _first_line(error)
            clear_ended_frames(error)
        held = str(self._on_loop(holders_of(self._channel, device)))
        log.error("out of memory, also after others made room", extra={**told, "problem": problem, "holders": held})
        text = f"not enough memory, also after others made room: {problem}. {held}"
        raise OutOfMemory(text, metadata={"holders": held})


def _first_line(error: BaseException) -> str:
    return (str(error).partition("\n")[0] or type(error).__name__).rstrip(".")


async def reclaim(channel: grpc.aio.Channel, device: str) -> None:
    """Asks the arbiter for everything on a device that nobody uses, and waits for it, but not for long."""
    stub = arbiter_pb2_grpc.MemoryArbiterStub(channel)
    with contextlib.suppress(grpc.aio.AioRpcError):
        answer = await stub.ReclaimMemory(arbiter_pb2.ReclaimMemoryRequest(device=device), timeout=_ANSWER_S)
        asked = {lease.lease_id for lease in answer.leases}
        if asked:
            call = stub.WatchStatus(arbiter_pb2.WatchStatusRequest(), timeout=_ROOM_S)
            async for change in call:
                if asked.isdisjoint(lease.lease_id for lease in change.status.leases):
                    call.cancel()
                    return


async def holders_of(channel: grpc.aio.Channel, device: str) -> str:
    """Who holds what on a device, in a sentence."""
    stub = arbiter_pb2_grpc.MemoryArbiterStub(channel)
    try:
        answer = await stub.GetStatus(arbiter_pb2.GetStatusRequest(), timeout=_ANSWER_S)
    except grpc.aio.AioRpcError:
        return f"Who holds {device} is not known: the arbiter does not answer"
    return describe_holders(answer.status, device)


def describe_holders(status: arbiter_pb2.ArbiterStatus, device: str) -> str:
    """Who holds what on a device, in a sentence that says what may be done."""
    parts = []
    for lease in status.leases:
        if lease.device == device:
            state = arbiter_pb2.LeaseState.Name(lease.state).removeprefix("LEASE_STATE_").lower()
            measured = f", {_gigabytes(lease.measured_bytes)} measured" if lease.HasField("measured_bytes") else ""
            parts.append(f"{lease.tenant} {_gigabytes(lease.granted_bytes)} ({lease.footprint}, {state}{measured})")
    lent = [entry for entry in status.devices if entry.device == device]
    for entry in lent:
        if entry.quarantined_bytes:
            parts.append(f"in quarantine {_gigabytes(entry.quarantined_bytes)}")
        if entry.external_bytes:
            parts.append(f"other programs {_gigabytes(entry.external_bytes)}")
        parts.append(f"free {_gigabytes(entry.free_bytes)} of {_gigabytes(entry.total_bytes)}")
    return f"On {device}: {'; '.join(parts) or 'nothing is known'}. Ask for less, or end what holds the rest"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
