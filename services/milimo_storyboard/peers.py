"""The processes that run jobs, as those who follow their streams see them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio
from milimo.v1 import worker_pb2, worker_pb2_grpc
from milimo_runtime.channels import CLIENT_OPTIONS, open_channel
from milimo_runtime.statuses import from_rpc_error

from milimo_storyboard.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

# A process that dies ends its streams with one of these.
AWAY: Final = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
)
_NOTIFY_SECONDS: Final = 2.0
# Rests between two calls of a process that does not serve them.
_REST_SECONDS: Final = 0.1
# Waits for a process that is away, after which the job's row is read again: it may have come back elsewhere.
_READY_SECONDS: Final = 1.0
_LONGEST_SECONDS: Final = 5.0


class Peers:
    """Channels to the processes that run jobs, by address."""

    def __init__(self, chance: Callable[[], float]) -> None:
        """`chance` draws from [0, 1)."""
        self._chance = chance
        self._channels: dict[tuple[str, bool], grpc.aio.Channel] = {}

    async def close(self) -> None:
        """Closes the channels."""
        for channel in self._channels.values():
            await channel.close()

    def backoff(self) -> Backoff:
        """The rests of somebody who follows a process."""
        return Backoff(first=_REST_SECONDS, most=_LONGEST_SECONDS, chance=self._chance)

    def patience(self) -> Backoff:
        """The waits of somebody for a process that is away."""
        return Backoff(first=_READY_SECONDS, most=_LONGEST_SECONDS, chance=self._chance)

    async def notify(self, address: str, job_id: str) -> None:
        """Tells the process at `address` to read the job again; one that is away or slow does so by itself, later."""
        stub = worker_pb2_grpc.WorkerServiceStub(self._channel(address, stream=False))
        try:
            await stub.NotifyJob(worker_pb2.NotifyJobRequest(job_id=job_id), timeout=_NOTIFY_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() not in {*AWAY, grpc.StatusCode.DEADLINE_EXCEEDED}:
                raise from_rpc_error(error) from error
            log.warning("worker is away", extra={"action": "worker_away", "address": address, "job_id": job_id})

    async def answers(self, address: str, *, within: float) -> bool:
        """Whether a process listens at the address; waits so many seconds for one."""
        try:
            async with asyncio.timeout(within):
                await self._channel(address, stream=True).channel_ready()
        except TimeoutError:
            return False
        return True

    def streams(self, address: str) -> worker_pb2_grpc.WorkerServiceAsyncStub:
        """For calls that may last for days."""
        return worker_pb2_grpc.WorkerServiceStub(self._channel(address, stream=True))

    def _channel(self, address: str, *, stream: bool) -> grpc.aio.Channel:
        """Streams have no interceptors: a call that has some takes the cancellation of whoever awaits its initial
        metadata, before they are through, for an answer; he would never end."""
        channel = self._channels.get((address, stream))
        if channel is None:
            channel = grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS) if stream else open_channel(address)
            self._channels[address, stream] = channel
        return channel
