"""One request for a lease, on one stream: the wait for the grant, and how it is taken back without a trace."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc.aio
from milimo.v1 import arbiter_pb2, arbiter_pb2_grpc

from milimo_runtime.errors import MilimoError
from milimo_runtime.lease_stream import Broken, acquire_message, next_reply, say
from milimo_runtime.lease_terms import QueuePlace

if TYPE_CHECKING:
    from collections.abc import Callable

    from milimo_runtime.lease_terms import Claim

    Call = grpc.aio.StreamStreamCall[arbiter_pb2.LeaseRequest, arbiter_pb2.LeaseResponse]

_RELEASE: Final = arbiter_pb2.LeaseRequest(release=arbiter_pb2.Release())
# Pauses between attempts to take a request back, in seconds.
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 5.0
# The loop itself refers to its tasks only weakly.
_WITHDRAWALS: Final[set[asyncio.Task[None]]] = set()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a request. Without a grant the stream has ended.

    `broken`: not in peace, so that the grant may have been lost on its way. `waited`: the request was queued first.
    """

    call: Call
    granted: arbiter_pb2.Granted | None
    waited: bool
    broken: bool


async def ask(
    channel: grpc.aio.Channel, request: Claim, acquire_id: str, on_queued: Callable[[QueuePlace], None]
) -> Answer:
    """Asks once, and waits for the grant. Cancelling takes the request back, or the grant if that was faster.

    Raises:
        MilimoError: when the arbiter refuses the request.
    """
    call = arbiter_pb2_grpc.MemoryArbiterStub(channel).Lease()
    asked = asyncio.Event()
    # Whoever is cancelled while reading a stream ends it, and with it the way to take the request back.
    wait = asyncio.create_task(_wait_in_queue(call, request, acquire_id, on_queued, asked))
    try:
        granted, waited = await asyncio.shield(wait)
    except Broken:
        call.cancel()
        return Answer(call=call, granted=None, waited=False, broken=True)
    except asyncio.CancelledError:
        withdrawal = asyncio.create_task(_withdraw(channel, call, wait, asked, request, acquire_id))
        _WITHDRAWALS.add(withdrawal)
        withdrawal.add_done_callback(_WITHDRAWALS.discard)
        raise
    except MilimoError:
        call.cancel()
        raise
    return Answer(call=call, granted=granted, waited=waited, broken=False)


async def _wait_in_queue(
    call: Call, request: Claim, acquire_id: str, on_queued: Callable[[QueuePlace], None], asked: asyncio.Event
) -> tuple[arbiter_pb2.Granted | None, bool]:
    """The grant, None when the arbiter has ended the stream in peace; and whether the request had to wait."""
    await say(call, acquire_message(request, acquire_id=acquire_id))
    asked.set()
    waited = False
    while (reply := await next_reply(call)) is not None:
        if reply.HasField("queued"):
            waited = True
            queued = reply.queued
            eta_s = queued.eta.ToNanoseconds() / 1e9 if queued.HasField("eta") else None
            on_queued(QueuePlace(position=queued.position, reason=queued.reason, eta_s=eta_s))
        elif reply.HasField("granted"):
            return reply.granted, waited
        elif reply.HasField("revoked"):
            # An earlier one was granted, and lost before the grant came here: nothing was done with it.
            await say(call, _RELEASE)
    return None, waited


async def _withdraw(
    channel: grpc.aio.Channel,
    call: Call,
    wait: asyncio.Task[tuple[arbiter_pb2.Granted | None, bool]],
    asked: asyncio.Event,
    request: Claim,
    acquire_id: str,
) -> None:
    """Releases what was asked for, granted or not, until the arbiter has said that it knows."""
    with contextlib.suppress(Broken, MilimoError):
        said = asyncio.create_task(asked.wait())
        await asyncio.wait({said, wait}, return_when=asyncio.FIRST_COMPLETED)
        said.cancel()
        if asked.is_set():
            await say(call, _RELEASE)
        granted, _ = await wait
        if granted is not None:
            await _read_on(call)
        return
    if wait.done() and isinstance(wait.exception(), MilimoError):
        return
    pause = _FIRST_PAUSE_S
    while True:
        call.cancel()
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)
        try:
            call = arbiter_pb2_grpc.MemoryArbiterStub(channel).Lease()
            await say(call, acquire_message(request, acquire_id=acquire_id))
            await say(call, _RELEASE)
            await _read_on(call)
        except Broken:
            continue
        except (MilimoError, grpc.aio.UsageError):
            # It was never granted, or the channel is closed: then the end of the process says the rest.
            return
        return


async def _read_on(call: Call) -> None:
    """Until the arbiter ends the stream."""
    while await next_reply(call) is not None:
        pass
