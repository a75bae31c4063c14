"""A real arbiter, real clients, and signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import psutil
import pytest
from milimo.v1 import arbiter_pb2 as pb
from milimo_runtime.errors import MilimoError
from milimo_runtime.lease import Lease, acquire
from milimo_runtime.lease_terms import Claim, Grade, LeaseLost, Priority, QueuePlace
from milimo_runtime.statuses import from_rpc_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    Started = Callable[..., AbstractAsyncContextManager[Any]]

TTL_S = 2.0


async def hold(
    arbiter: Any,
    tenant: str,
    size: int,
    *,
    places: list[int] | None = None,
    on_change: Callable[[], None] = lambda: None,
    priority: Priority = Priority.NORMAL,
) -> Lease:
    """A lease in this process."""

    def queued(place: QueuePlace) -> None:
        if places is not None and place.position:
            places.append(place.position)

    return await acquire(
        arbiter.channel,
        Claim(tenant=tenant, grades=(Grade(name="whole", bytes=size),), job_id=f"job of {tenant}", priority=priority),
        on_queued=queued,
        measure=lambda: size,
        on_change=on_change,
    )


@asynccontextmanager
async def holder_process(arbiter: Any, tenant: str, size: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A lease in a process of its own."""
    script = Path(__file__).with_name("lease_holder.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), arbiter.address, tenant, str(size), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def told(process: asyncio.subprocess.Process, what: str) -> Any:
    """Reads on until the process tells `what`."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        while True:
            line = json.loads(await process.stdout.readline())
            if what in line:
                return line[what]


def waits_for(tenant: str) -> Callable[[pb.ArbiterStatus], bool]:
    return lambda status: any(waiting.tenant == tenant for waiting in status.queue)


async def test_a_holder_outlives_the_arbiter_and_nobody_else_gets_its_memory(arbiter_process: Started) -> None:
    # However slowly a busy machine starts the next one: the grace window ends early, because the holder comes back.
    async with arbiter_process(ttl_s=60.0) as arbiter:
        lease = await hold(arbiter, "video", 700)
        await arbiter.kill()
        lease.check()
        await arbiter.start()
        waiter = asyncio.create_task(hold(arbiter, "image", 500))
        status = await arbiter.until(lambda status: waits_for("image")(status) and not status.HasField("grace_until"))
        assert [(one.tenant, one.fencing_token) for one in status.leases] == [("video", lease.grant.fencing_token)]
        assert "resumed" in [decision.action for decision in status.decisions]
        lease.check()
        assert not waiter.done()
        await lease.release()
        image = await waiter
        assert image.grant.fencing_token > lease.grant.fencing_token
        await image.release()


async def test_a_lease_ends_by_itself_when_the_arbiter_stays_away(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        changed = asyncio.Event()
        lease = await hold(arbiter, "video", 700, on_change=changed.set)
        await arbiter.kill()
        killed = time.monotonic()
        async with asyncio.timeout(10):
            await changed.wait()
        assert lease.lost is not None
        assert time.monotonic() - killed < TTL_S, "the holder stops before the arbiter would"
        with pytest.raises(LeaseLost, match="has not answered"):
            lease.check()
        await arbiter.start()
        await lease.release()
        assert not (await arbiter.status()).leases, "what a lost holder frees is free"


async def test_memory_that_nobody_claims_after_a_restart_stays_occupied_while_its_process_lives(
    arbiter_process: Started,
) -> None:
    async with arbiter_process() as arbiter, holder_process(arbiter, "video", 700) as holder:
        token = await told(holder, "token")
        holder.send_signal(signal.SIGSTOP)
        await arbiter.kill()
        await arbiter.start()
        waiter = asyncio.create_task(hold(arbiter, "image", 500))
        status = await arbiter.until(
            lambda status: bool(status.leases and status.leases[0].state == pb.LEASE_STATE_QUARANTINED)
        )
        assert status.leases[0].fencing_token == token
        assert not waiter.done()
        holder.kill()
        image = await waiter
        assert image.grant.fencing_token > token
        await image.release()


async def test_the_next_waiter_is_granted_when_a_killed_holder_is_gone(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter, holder_process(arbiter, "video", 700) as holder:
        token = await told(holder, "token")
        waiter = asyncio.create_task(hold(arbiter, "image", 500))
        await arbiter.until(waits_for("image"))
        killed = time.monotonic()
        holder.kill()
        image = await waiter
        assert time.monotonic() - killed < TTL_S / 2, "the death of the process is what counts, not the TTL"
        assert image.grant.fencing_token > token
        actions = [decision.action for decision in (await arbiter.status()).decisions]
        assert actions[-2:] == ["freed", "granted"]
        await image.release()


async def test_a_stopped_holder_notices_by_itself_and_its_memory_is_not_lent_meanwhile(
    arbiter_process: Started,
) -> None:
    async with arbiter_process() as arbiter, holder_process(arbiter, "video", 700) as holder:
        await told(holder, "token")
        holder.send_signal(signal.SIGSTOP)
        waiter = asyncio.create_task(hold(arbiter, "image", 500))
        status = await arbiter.until(
            lambda status: bool(status.leases and status.leases[0].state == pb.LEASE_STATE_QUARANTINED)
        )
        assert (status.devices[0].quarantined_bytes, status.devices[0].free_bytes) == (700, 300)
        assert not waiter.done(), "it may wake up and go on at any moment"
        holder.send_signal(signal.SIGCONT)
        assert await told(holder, "lost")
        assert await told(holder, "released")
        await (await waiter).release()
        assert await holder.wait() == 0


async def test_positions_are_told_as_they_change_and_a_cancelled_request_leaves_at_once(
    arbiter_process: Started,
) -> None:
    async with arbiter_process() as arbiter:
        lease = await hold(arbiter, "video", 1_000)
        heard: dict[str, list[int]] = {"first": [], "second": [], "urgent": []}
        first = asyncio.create_task(hold(arbiter, "first", 900, places=heard["first"]))
        await arbiter.until(waits_for("first"))
        second = asyncio.create_task(hold(arbiter, "second", 900, places=heard["second"]))
        await arbiter.until(waits_for("second"))
        urgent = asyncio.create_task(hold(arbiter, "urgent", 900, places=heard["urgent"], priority=Priority.HIGH))
        status = await arbiter.until(waits_for("urgent"))
        assert [(one.tenant, one.position) for one in status.queue] == [("urgent", 1), ("first", 2), ("second", 3)]
        urgent.cancel()
        first.cancel()
        status = await arbiter.until(lambda status: len(status.queue) == 1)
        assert [(one.tenant, one.position) for one in status.queue] == [("second", 1)]
        assert status.queue[0].reason == "video is busy on job job of video"
        await lease.release()
        await (await second).release()
        # The first to come was passed by the urgent one; both were gone in an order that only they know.
        assert heard["second"][0] == 2
        assert heard["second"][-1] == 1
        assert (heard["first"][:2], heard["urgent"]) == ([1, 2], [1])


async def test_an_idle_holder_is_asked_and_a_waiter_gets_its_memory(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        asked = asyncio.Event()
        lease = await hold(arbiter, "video", 700, on_change=asked.set)
        await lease.idle()
        waiter = asyncio.create_task(hold(arbiter, "image", 500))
        async with asyncio.timeout(10):
            await asked.wait()
        assert lease.wish is not None
        assert lease.wish.bytes == 200
        assert lease.wish.reason == "image waits for 500 bytes"
        await lease.shrink(200)
        image = await waiter
        sums = (await arbiter.status()).devices[0]
        assert (sums.granted_bytes, sums.free_bytes) == (1_000, 0)
        await lease.release()
        await image.release()


def acquire_message(**changes: Any) -> pb.LeaseRequest:
    values: dict[str, Any] = {"tenant": "image", "footprints": [pb.Footprint(name="g", bytes=10)], **changes}
    return pb.LeaseRequest(acquire=pb.Acquire(**values))


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
    "parks": ([GOOD, pb.LeaseRequest(park=pb.Park(bytes=10))], "FAILED_PRECONDITION", ""),
}


async def converse(arbiter: Any, messages: Sequence[pb.LeaseRequest]) -> MilimoError:
    """Says all that, and returns the error that the stream ends with."""
    call = arbiter.stub.Lease(iter(messages), timeout=20)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call:
            pass
    return from_rpc_error(caught.value)


async def test_bad_conversations_are_refused_by_field_and_change_nothing(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        lease = await hold(arbiter, "video", 700)
        for name, (messages, status, field) in BAD_CONVERSATIONS.items():
            error = await converse(arbiter, messages)
            assert error.status == status, name
            assert [violation.field for violation in error.violations][:1] == ([field] if field else []), name
            after = await arbiter.until(lambda status: len(status.leases) == 1 and not status.queue)
            assert after.leases[0].tenant == "video", name
            assert after.leases[0].granted_bytes == 700, name
        await lease.release()


async def test_a_resume_token_works_for_its_own_tenant_only(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        call = arbiter.stub.Lease()
        await call.write(acquire_message())
        granted = (await call.read()).granted
        error = await converse(arbiter, [acquire_message(tenant="sam", resume_token=granted.resume_token)])
        assert (error.status, error.reason) == ("INVALID_ARGUMENT", "RESUME_TOKEN_FOREIGN")
        call.cancel()
        status = await arbiter.until(lambda status: not status.leases)
        assert status.decisions[-1].action == "taken_back", "an offer that was not confirmed"


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


async def test_a_second_arbiter_of_the_same_home_does_not_start(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        second = await arbiter.spawn()
        assert await second.wait() == 1
        assert (await arbiter.status()).devices


def resident_bytes(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


async def test_it_drains_on_sigterm_stays_small_and_never_repeats_a_token(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        first = await hold(arbiter, "video", 700)
        await first.release()
        assert resident_bytes(arbiter.process.pid) < 100_000_000
        arbiter.process.send_signal(signal.SIGTERM)
        assert await arbiter.process.wait() == 0
        await arbiter.start()
        second = await hold(arbiter, "video", 700)
        assert second.grant.fencing_token > first.grant.fencing_token
        await second.release()


def test_it_needs_neither_torch_nor_the_database_library() -> None:
    script = "import sys, milimo_arbiter.__main__; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "sqlalchemy", "dbos", "numpy"} & set(modules)
