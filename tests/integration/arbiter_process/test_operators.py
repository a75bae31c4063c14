"""What operators see and decide."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from milimo.v1 import arbiter_pb2 as pb

from .holders import acquire_message, hold

if TYPE_CHECKING:
    from collections.abc import Callable

    from .holders import Started


async def test_operators_look_and_decide(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        lost = asyncio.Event()
        video = await hold(arbiter, "video", 300, on_change=lost.set)
        image = await hold(arbiter, "image", 200)
        first = await arbiter.stub.ListLeases(pb.ListLeasesRequest(page_size=1))
        assert [lease.tenant for lease in first.leases] == ["video"]
        second = await arbiter.stub.ListLeases(pb.ListLeasesRequest(page_size=1, page_token=first.next_page_token))
        assert ([lease.tenant for lease in second.leases], second.next_page_token) == (["image"], "")

        await image.idle()
        await arbiter.until(lambda status: any(lease.state == pb.LEASE_STATE_IDLE for lease in status.leases))
        asked = await arbiter.stub.ReclaimMemory(pb.ReclaimMemoryRequest(device="cpu:0"))
        assert [(lease.tenant, lease.state) for lease in asked.leases] == [("image", pb.LEASE_STATE_RECLAIMING)]
        await image.release()

        revoked = await arbiter.stub.RevokeLease(pb.RevokeLeaseRequest(lease_id=video.grant.lease_id, reason="tests"))
        assert revoked.lease.state == pb.LEASE_STATE_QUARANTINED
        async with asyncio.timeout(10):
            await lost.wait()
        assert video.lost == "tests"
        await video.release()
        assert not (await arbiter.status()).leases


async def test_what_operators_repeat_is_answered_as_before_and_decides_nothing(arbiter_process: Started) -> None:
    async with arbiter_process(ttl_s=60.0) as arbiter:
        # Of a process that nobody can watch: a second word of an operator would free its memory.
        call = arbiter.stub.Lease()
        await call.write(acquire_message())
        lease_id = (await call.read()).granted.lease_id
        await call.write(pb.LeaseRequest(heartbeat=pb.Heartbeat(sequence=1)))
        assert (await call.read()).renewed.sequence == 1
        image = await hold(arbiter, "image", 200)
        await image.idle()
        revoke = pb.RevokeLeaseRequest(lease_id=lease_id, reason="tests", request_id=str(uuid.uuid4()))
        reclaim = pb.ReclaimMemoryRequest(device="cpu:0", request_id=str(uuid.uuid4()))
        await arbiter.until(lambda status: any(lease.state == pb.LEASE_STATE_IDLE for lease in status.leases))
        revoked, asked = await arbiter.stub.RevokeLease(revoke), await arbiter.stub.ReclaimMemory(reclaim)
        assert [lease.tenant for lease in asked.leases] == ["image"]

        assert await arbiter.stub.RevokeLease(revoke) == revoked
        assert await arbiter.stub.ReclaimMemory(reclaim) == asked
        await arbiter.kill()
        await arbiter.start()
        assert await arbiter.stub.RevokeLease(revoke) == revoked
        assert await arbiter.stub.ReclaimMemory(reclaim) == asked
        assert lease_id in [lease.lease_id for lease in (await arbiter.status()).leases]

        revoke.reason = "another one"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await arbiter.stub.RevokeLease(revoke)
        assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
        await image.release()


MISSING: dict[str, Callable[[Any], Any]] = {
    "lease": lambda stub: stub.RevokeLease(pb.RevokeLeaseRequest(lease_id="cpu-0-99")),
    "device": lambda stub: stub.ReclaimMemory(pb.ReclaimMemoryRequest(device="cuda:7")),
}


async def test_what_is_not_there_is_not_found(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        for name, call in MISSING.items():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(arbiter.stub)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND, name
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await arbiter.stub.ListLeases(pb.ListLeasesRequest(page_token="nonsense"))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
