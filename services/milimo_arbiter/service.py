"""The gRPC edge: MemoryArbiter."""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
from typing import TYPE_CHECKING, Final

from milimo.v1 import arbiter_pb2, arbiter_pb2_grpc
from milimo_runtime.errors import InvalidArgument, MilimoError, NotFound
from milimo_runtime.identity import pid_namespace
from milimo_runtime.limits import PAGE_SIZE

from milimo_arbiter import events
from milimo_arbiter.effects import Refuse
from milimo_arbiter.messages import (
    error_of,
    event_of,
    lease_status,
    oldest_first,
    process_of,
    reply_of,
    request_of,
    status_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

    from milimo_arbiter.loop import Arbiter
    from milimo_arbiter.repeats import Record, Repeats
    from milimo_arbiter.state import Lease, ProcessIdentity, State
    from milimo_arbiter.store import Answer
    from milimo_arbiter.stream import Stream


# Onlookers hear at most so often, in seconds.
_WATCH_PAUSE_S: Final = 0.1


class MemoryArbiterService(arbiter_pb2_grpc.MemoryArbiterServicer):
    """Answers for an `Arbiter`, which does the work."""

    def __init__(self, arbiter: Arbiter, repeats: Repeats) -> None:
        self._arbiter = arbiter
        self._repeats = repeats

    async def Lease(
        self,
        request_iterator: AsyncIterator[arbiter_pb2.LeaseRequest],
        context: grpc.aio.ServicerContext[arbiter_pb2.LeaseRequest, arbiter_pb2.LeaseResponse],
    ) -> AsyncIterator[arbiter_pb2.LeaseResponse]:
        """One lease, from the request to the release."""
        stream = self._arbiter.open_stream()
        reader = asyncio.create_task(self._listen(stream, request_iterator))
        try:
            while (reply := await stream.replies.get()) is not None:
                if isinstance(reply, Refuse):
                    raise error_of(reply.refusal, reply.text)
                if isinstance(reply, BaseException):
                    raise reply
                yield reply_of(reply)
        finally:
            reader.cancel()
            self._arbiter.close_stream(stream)

    async def _listen(self, stream: Stream, requests: AsyncIterator[arbiter_pb2.LeaseRequest]) -> None:
        """Turns what the holder says into events, until it says no more."""
        try:
            first = True
            async for message in requests:
                self._arbiter.post(self._first(message, stream) if first else event_of(message, stream.number))
                first = False
            # A killed client ends like this too. What is still to be sent, such as the answer to a release, goes out.
            await self._arbiter.heard_all(stream)
        except MilimoError as error:
            stream.end(error)

    def _first(self, message: arbiter_pb2.LeaseRequest, stream: Stream) -> events.Acquire | events.Resume:
        if message.WhichOneof("message") != "acquire":
            raise InvalidArgument("acquire", "the first message of a stream must be acquire")
        acquire = message.acquire
        process = self._watchable(process_of(acquire))
        if acquire.resume_token:
            return events.Resume(
                stream=stream.number, tenant=acquire.tenant, resume_token=acquire.resume_token, process=process
            )
        return events.Acquire(
            stream=stream.number, request=request_of(acquire, process, acquire.acquire_id or secrets.token_urlsafe(18))
        )

    def _watchable(self, process: ProcessIdentity | None) -> ProcessIdentity | None:
        """The process, if this host can tell when it ends.

        Raises:
            InvalidArgument: when it claims to be in the arbiter's pid namespace and is not there.
        """
        if process is None or process.pid_namespace != pid_namespace():
            return None
        if not self._arbiter.is_alive(process):
            raise InvalidArgument("acquire.process", f"no process {process.pid} started at tick {process.start_ticks}")
        return process

    async def GetStatus(
        self,
        request: arbiter_pb2.GetStatusRequest,
        context: grpc.aio.ServicerContext[arbiter_pb2.GetStatusRequest, arbiter_pb2.GetStatusResponse],
    ) -> arbiter_pb2.GetStatusResponse:
        """Devices, leases, the queue and the latest decisions."""
        return arbiter_pb2.GetStatusResponse(status=self._status())

    async def WatchStatus(
        self,
        request: arbiter_pb2.WatchStatusRequest,
        context: grpc.aio.ServicerContext[arbiter_pb2.WatchStatusRequest, arbiter_pb2.WatchStatusResponse],
    ) -> AsyncIterator[arbiter_pb2.WatchStatusResponse]:
        """The status now, and again after changes, with a pause in between; who reads slowly sees the latest only."""
        version = self._arbiter.version
        while True:
            yield arbiter_pb2.WatchStatusResponse(status=self._status())
            await asyncio.sleep(_WATCH_PAUSE_S)
            version = await self._arbiter.changed(version)

    def _status(self) -> arbiter_pb2.ArbiterStatus:
        arbiter = self._arbiter
        return status_of(arbiter.state, arbiter.decisions, arbiter.to_wall, arbiter.now())

    async def ListLeases(
        self,
        request: arbiter_pb2.ListLeasesRequest,
        context: grpc.aio.ServicerContext[arbiter_pb2.ListLeasesRequest, arbiter_pb2.ListLeasesResponse],
    ) -> arbiter_pb2.ListLeasesResponse:
        """All leases that hold bytes, oldest first."""
        state = self._arbiter.state
        leases = oldest_first(state)
        if request.page_token:
            after = _position(request.page_token)
            leases = [lease for lease in leases if (lease.granted_at, lease.lease_id) > after]
        size = request.page_size or PAGE_SIZE
        page = leases[:size]
        return arbiter_pb2.ListLeasesResponse(
            leases=[lease_status(state, lease, self._arbiter.to_wall) for lease in page],
            next_page_token=_page_token(page[-1]) if len(leases) > size else "",
        )

    async def RevokeLease(
        self,
        request: arbiter_pb2.RevokeLeaseRequest,
        context: grpc.aio.ServicerContext[arbiter_pb2.RevokeLeaseRequest, arbiter_pb2.RevokeLeaseResponse],
    ) -> arbiter_pb2.RevokeLeaseResponse:
        """Takes a lease from its holder at once."""

        async def revoke(record: Record[arbiter_pb2.RevokeLeaseResponse]) -> arbiter_pb2.RevokeLeaseResponse:
            lease = self._arbiter.state.leases.get(request.lease_id)
            if lease is None:
                raise NotFound("lease", request.lease_id)

            def respond(_: State, after: State) -> Answer | None:
                left = after.leases.get(request.lease_id, lease)
                response.lease.CopyFrom(lease_status(after, left, self._arbiter.to_wall))
                return record(response)

            response = arbiter_pb2.RevokeLeaseResponse()
            await self._arbiter.apply(events.Revoke(lease_id=request.lease_id, reason=request.reason), respond)
            return response

        return await self._repeats.once(request, arbiter_pb2.RevokeLeaseResponse, revoke)

    async def ReclaimMemory(
        self,
        request: arbiter_pb2.ReclaimMemoryRequest,
        context: grpc.aio.ServicerContext[arbiter_pb2.ReclaimMemoryRequest, arbiter_pb2.ReclaimMemoryResponse],
    ) -> arbiter_pb2.ReclaimMemoryResponse:
        """Asks the holders of idle leases to give memory back, cheapest first."""

        async def reclaim(record: Record[arbiter_pb2.ReclaimMemoryResponse]) -> arbiter_pb2.ReclaimMemoryResponse:
            if request.device and request.device not in self._arbiter.state.devices:
                raise NotFound("device", request.device, field="device")

            def respond(before: State, after: State) -> Answer | None:
                for lease in oldest_first(after):
                    old = before.leases.get(lease.lease_id)
                    if lease.reclaim is not None and (old is None or old.reclaim is None):
                        response.leases.append(lease_status(after, lease, self._arbiter.to_wall))
                return record(response)

            response = arbiter_pb2.ReclaimMemoryResponse()
            await self._arbiter.apply(events.ReclaimIdle(device=request.device or None, bytes=request.bytes), respond)
            return response

        return await self._repeats.once(request, arbiter_pb2.ReclaimMemoryResponse, reclaim)


def _page_token(lease: Lease) -> str:
    return base64.urlsafe_b64encode(f"{lease.granted_at.hex()} {lease.lease_id}".encode()).decode()


def _position(page_token: str) -> tuple[float, str]:
    try:
        granted_at, lease_id = base64.urlsafe_b64decode(page_token).decode().split(" ")
        return float.fromhex(granted_at), lease_id
    except (binascii.Error, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise InvalidArgument("page_token", "it is not one that ListLeases returned") from error
