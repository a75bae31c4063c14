"""Conversations that break the contract, or break off."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from milimo.v1 import arbiter_pb2 as pb
from milimo.v1 import arbiter_pb2_grpc
from milimo_runtime.errors import MilimoError
from milimo_runtime.lease import withdraw
from milimo_runtime.statuses import from_rpc_error

from .holders import acquire_message, hold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .holders import Started


GOOD = acquire_message()
BAD_CONVERSATIONS: dict[str, tuple[list[pb.LeaseRequest], str, str]] = {
    "nothing asked for": ([pb.LeaseRequest(idle=pb.Idle())], "INVALID_ARGUMENT", "acquire"),
    "empty message": ([pb.LeaseRequest()], "INVALID_ARGUMENT", "message"),
    "no tenant": ([acquire_message(tenant="")], "INVALID_ARGUMENT", "acquire.tenant"),
    "no grades": ([acquire_message(footprints=[])], "INVALID_ARGUMENT", "acquire.footprints"),
    "no bytes": (
        [acquire_message(footprints=[pb.Footprint(name="g")])],
        "INVALID_ARGUMENT",
        "acquire.footprints[0].bytes",
    ),
    "one name twice": (
        [acquire_message(footprints=[pb.Footprint(name="g", bytes=1), pb.Footprint(name="g", bytes=2)])],
        "INVALID_ARGUMENT",
        "acquire.footprints[1].name",
    ),
    "too large": (
        [acquire_message(footprints=[pb.Footprint(name="g", bytes=1_001)])],
        "INVALID_ARGUMENT",
        "acquire.footprints",
    ),
    "no such device": (
        [acquire_message(footprints=[pb.Footprint(name="g", bytes=1, devices=["cuda:7"])])],
        "INVALID_ARGUMENT",
        "acquire.footprints",
    ),
    "no such process": (
        [
            acquire_message(
                process=pb.ProcessIdentity(
                    pid=os.getpid(), start_ticks=1, pid_namespace=Path("/proc/self/ns/pid").stat().st_ino
                )
            )
        ],
        "INVALID_ARGUMENT",
        "acquire.process",
    ),
    "a second request": ([GOOD, GOOD], "INVALID_ARGUMENT", "acquire"),
    "shrinks to nothing": ([GOOD, pb.LeaseRequest(shrink=pb.Shrink(bytes=10))], "INVALID_ARGUMENT", "shrink.bytes"),
    "asks for less than nothing": (
        [acquire_message(footprints=[pb.Footprint(name="g", bytes=-1)])],
        "INVALID_ARGUMENT",
        "acquire.footprints[0].bytes",
    ),
    "shrinks by less than nothing": (
        [GOOD, pb.LeaseRequest(shrink=pb.Shrink(bytes=-1))],
        "INVALID_ARGUMENT",
        "shrink.bytes",
    ),
    "uses less than nothing": (
        [GOOD, pb.LeaseRequest(heartbeat=pb.Heartbeat(used_bytes=-1))],
        "INVALID_ARGUMENT",
        "heartbeat.used_bytes",
    ),
    "parks less than nothing": ([GOOD, pb.LeaseRequest(park=pb.Park(bytes=-1))], "INVALID_ARGUMENT", "park.bytes"),
}


async def converse(arbiter: Any, messages: Sequence[pb.LeaseRequest]) -> MilimoError:
    """Says all that, and returns the error that the stream ends with.

    On a thread: where the server ends a call that is still written to, grpc.aio at times gives an error of its own in
    place of the server's, which the threaded API never does.
    """

    def say() -> Any:
        with grpc.insecure_channel(arbiter.address) as channel, pytest.raises(grpc.RpcError) as caught:
            list(arbiter_pb2_grpc.MemoryArbiterStub(channel).Lease(iter(messages), timeout=20))
        return caught.value

    return from_rpc_error(await asyncio.to_thread(say))


def _lost_or_unknown(status: pb.ArbiterStatus, tenant: str) -> bool:
    """Whether the tenant has no lease, or has lost its stream."""
    holds = [lease for lease in status.leases if lease.tenant == tenant]
    return not holds or any(one.action == "lost" and one.tenant == tenant for one in status.decisions)


async def forget(arbiter: Any, lease_id: str) -> None:
    """Revokes a lease whose process nobody can watch; the second word says that its memory is free."""
    for _ in range(2):
        await arbiter.stub.RevokeLease(pb.RevokeLeaseRequest(lease_id=lease_id))


async def test_bad_conversations_are_refused_by_field_and_change_nothing(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        lease = await hold(arbiter, "video", 700)
        for name, (messages, status, field) in BAD_CONVERSATIONS.items():
            error = await converse(arbiter, messages)
            assert error.status == status, name
            assert [violation.field for violation in error.violations][:1] == ([field] if field else []), name
            after = await arbiter.until(lambda status: not status.queue and _lost_or_unknown(status, "image"))
            video = next(lease for lease in after.leases if lease.tenant == "video")
            assert (video.granted_bytes, video.state) == (700, pb.LEASE_STATE_BUSY), name
            for other in [lease for lease in after.leases if lease.tenant == "image"]:
                assert other.granted_bytes == 10, name
                await forget(arbiter, other.lease_id)
        await lease.release()


async def test_a_resume_token_works_for_its_own_tenant_only(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        call = arbiter.stub.Lease()
        await call.write(acquire_message())
        granted = (await call.read()).granted
        error = await converse(arbiter, [acquire_message(tenant="sam", resume_token=granted.resume_token)])
        assert (error.status, error.reason) == ("INVALID_ARGUMENT", "RESUME_TOKEN_FOREIGN")
        before = await arbiter.status()
        foreign = acquire_message(tenant="sam", resume_token=granted.resume_token)
        error = await converse(arbiter, [foreign, pb.LeaseRequest(release=pb.Release())])
        assert error.reason == "RESUME_TOKEN_FOREIGN", "nor can others release what is not theirs"
        error = await converse(arbiter, [pb.LeaseRequest(release=pb.Release())])
        assert [violation.field for violation in error.violations] == ["acquire"]
        assert (await arbiter.status()).leases == before.leases
        call.cancel()
        status = await arbiter.until(lambda status: status.decisions[-1].action == "lost")
        assert [lease.tenant for lease in status.leases] == ["image"], "what was granted at once may be in use"


async def test_a_heartbeat_of_a_lease_that_has_expired_changes_nothing(arbiter_process: Started) -> None:
    async with arbiter_process(ttl_s=1.0) as arbiter:
        call = arbiter.stub.Lease()
        await call.write(acquire_message())
        assert (await call.read()).HasField("granted")
        before = await arbiter.until(lambda status: status.decisions[-1].action == "expired")
        assert [lease.state for lease in before.leases] == [pb.LEASE_STATE_QUARANTINED]
        assert (await call.read()).HasField("revoked")
        await call.write(pb.LeaseRequest(heartbeat=pb.Heartbeat(sequence=1, used_bytes=5)))
        assert (await call.read()).revoked.reason == "it was not renewed in time"
        assert (await arbiter.status()).leases == before.leases
        call.cancel()


async def test_an_offer_to_one_who_has_gone_is_taken_back(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        lease = await hold(arbiter, "video", 1_000)
        call = arbiter.stub.Lease()
        await call.write(acquire_message())
        assert (await call.read()).queued.position == 1
        await lease.release()
        assert (await call.read()).granted.bytes == 10
        call.cancel()
        status = await arbiter.until(lambda status: not status.leases)
        assert status.decisions[-1].action == "taken_back"


async def test_a_repeated_request_finds_its_grant_also_after_a_restart(arbiter_process: Started) -> None:
    async with arbiter_process(ttl_s=60.0) as arbiter:
        first = arbiter.stub.Lease()
        await first.write(acquire_message(acquire_id="one request"))
        granted = (await first.read()).granted
        assert granted.resume_token == "one request"
        await arbiter.kill()
        await arbiter.start()
        again = arbiter.stub.Lease(wait_for_ready=True)
        await again.write(acquire_message(acquire_id="one request"))
        assert (await again.read()).granted.fencing_token == granted.fencing_token
        await again.write(pb.LeaseRequest(release=pb.Release()))
        assert (await again.read()).HasField("released")
        assert not (await arbiter.status()).leases


async def test_a_request_that_is_cancelled_leaves_no_lease_behind(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        for turns in range(12):
            request = asyncio.create_task(hold(arbiter, "video", 700))
            for _ in range(turns):
                await asyncio.sleep(0)
            await withdraw(request)
        request = asyncio.create_task(hold(arbiter, "video", 700))
        await arbiter.kill()
        request.cancel()
        await arbiter.start()
        other = await hold(arbiter, "image", 1_000)
        await other.release()
