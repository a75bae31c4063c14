"""The arbiter's own process: how it starts, ends, and what it takes."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil

from .holders import hold

if TYPE_CHECKING:
    from .holders import Started


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
