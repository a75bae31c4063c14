"""Holders and arbiters that are killed, stopped and lost."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from milimo.v1 import arbiter_pb2 as pb
from milimo_runtime.lease_terms import LeaseLost

from .holders import TTL_S, hold, holder_process, told, waits_for

if TYPE_CHECKING:
    from .holders import Started

# For those who are only to lose their leases.
SHORT_TTL_S = 1.0
# From the end of a holder to the next one's grant.
HANDOVER_S = 0.005


def resident_bytes(pid: int) -> int:
    """What the process has in memory; nothing when it has ended, reaped or not."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0


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
    async with arbiter_process(ttl_s=SHORT_TTL_S) as arbiter, holder_process(arbiter, "video", 700) as holder:
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


async def death_of(process: asyncio.subprocess.Process) -> asyncio.Future[float]:
    """When the kernel says that the process has ended, its memory gone: in seconds since the epoch."""
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(process.pid)
    died: asyncio.Future[float] = loop.create_future()

    def ended() -> None:
        died.set_result(time.time())
        loop.remove_reader(descriptor)
        os.close(descriptor)

    loop.add_reader(descriptor, ended)
    return died


async def test_the_next_waiter_is_granted_at_once_when_a_killed_holder_is_gone_and_not_before(
    arbiter_process: Started,
) -> None:
    late: list[float] = []
    async with arbiter_process() as arbiter:
        # Other programs of a busy machine may delay one of them.
        for _ in range(3):
            async with holder_process(arbiter, "video", 700) as holder:
                token = await told(holder, "token")
                died = await death_of(holder)
                waiter = asyncio.create_task(hold(arbiter, "image", 500))
                await arbiter.until(waits_for("image"))
                assert resident_bytes(holder.pid) > 0
                killed = time.monotonic()
                holder.kill()
                image = await waiter
                assert resident_bytes(holder.pid) == 0, "its memory is gone"
                assert time.monotonic() - killed < TTL_S / 2, "the death of the process is what counts, not the TTL"
                assert image.grant.fencing_token > token
                decisions = (await arbiter.status()).decisions
                assert [decision.action for decision in decisions][-2:] == ["freed", "granted"]
                late.append(decisions[-1].time.ToNanoseconds() / 1e9 - await died)
                await image.release()
    assert min(late) <= HANDOVER_S, f"granted {late} s after the end of the holder"


async def test_a_stopped_holder_notices_by_itself_and_its_memory_is_not_lent_meanwhile(
    arbiter_process: Started,
) -> None:
    async with arbiter_process(ttl_s=SHORT_TTL_S) as arbiter, holder_process(arbiter, "video", 700) as holder:
        await told(holder, "token")
        holder.send_signal(signal.SIGSTOP)
        waiter = asyncio.create_task(hold(arbiter, "image", 500))
        status = await arbiter.until(
            lambda status: bool(status.leases and status.leases[0].state == pb.LEASE_STATE_QUARANTINED)
        )
        assert (status.devices[0].quarantined_bytes, status.devices[0].free_bytes) == (700, 300)
        assert not waiter.done(), "it may wake up and go on at any moment"
        # From here on nobody can tell it.
        arbiter.process.send_signal(signal.SIGSTOP)
        holder.send_signal(signal.SIGCONT)
        assert "the arbiter has not answered" in await told(holder, "lost")
        arbiter.process.send_signal(signal.SIGCONT)
        assert await told(holder, "released")
        await (await waiter).release()
        assert await holder.wait() == 0
