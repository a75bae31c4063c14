"""Real processes that several tests start."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from milimo.v1 import arbiter_pb2, arbiter_pb2_grpc
from milimo_runtime.lease_stream import arbiter_channel
from milimo_runtime.registry import ModelFootprint, write_manifest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

BUDGET = 1_000
# Bytes that the model of recovery_worker.py asks for.
FOOTPRINT = 600


@dataclass
class ArbiterProcess:
    """An arbiter that lends so much host memory."""

    home: Path
    address: str
    channel: grpc.aio.Channel
    ttl_s: float
    ollama: str | None = None
    budget: int = BUDGET
    process: asyncio.subprocess.Process | None = None

    @property
    def stub(self) -> arbiter_pb2_grpc.MemoryArbiterAsyncStub:
        return arbiter_pb2_grpc.MemoryArbiterStub(self.channel)

    async def start(self) -> None:
        """Starts the process, and returns when it answers."""
        self.process = await self.spawn()
        async with asyncio.timeout(30):
            while True:
                try:
                    await self.stub.GetStatus(arbiter_pb2.GetStatusRequest(), wait_for_ready=True)
                    return
                except grpc.aio.AioRpcError as error:
                    # It went out on the connection to a process that was killed.
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise

    async def spawn(self) -> asyncio.subprocess.Process:
        environment = {
            **os.environ,
            "MILIMO_HOME": str(self.home),
            "MILIMO_LOG_FORMAT": "text",
            "MILIMO_ARBITER_ADDRESS": self.address,
            "MILIMO_ARBITER_DEVICE": "cpu",
            "MILIMO_ARBITER_BUDGET_BYTES": str(self.budget),
            "MILIMO_ARBITER_TTL_SECONDS": str(self.ttl_s),
            "MILIMO_ARBITER_GRACE_SECONDS": str(2 * self.ttl_s),
            "MILIMO_ARBITER_IDLE_DEADLINE_SECONDS": "5",
            "MILIMO_ARBITER_BUSY_DEADLINE_SECONDS": "20",
        }
        if self.ollama is not None:
            environment["MILIMO_ARBITER_OLLAMA_URL"] = self.ollama
        return await asyncio.create_subprocess_exec(sys.executable, "-m", "milimo_arbiter", env=environment)

    async def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def status(self) -> arbiter_pb2.ArbiterStatus:
        """What the arbiter shows now."""
        answer = await self.stub.GetStatus(arbiter_pb2.GetStatusRequest(), wait_for_ready=True, timeout=30)
        return answer.status

    async def until(self, holds: Callable[[arbiter_pb2.ArbiterStatus], bool]) -> arbiter_pb2.ArbiterStatus:
        """Watches until the status is as wished; fails after a time that is far beyond any that is right."""
        status = None
        try:
            async with asyncio.timeout(30):
                async for change in self.stub.WatchStatus(arbiter_pb2.WatchStatusRequest()):
                    status = change.status
                    if holds(status):
                        return status
        except TimeoutError:
            pytest.fail(f"it never came to that; at last: {status}")
        raise AssertionError("the arbiter ended the stream")


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def film_home(tmp_path: Path) -> Path:
    """A home folder with the model of recovery_worker.py, which has no weights."""
    home = tmp_path / "home"
    model = home / "models/test/film"
    model.mkdir(parents=True)
    manifest = dict.fromkeys(("checkpoint", "license", "note", "advice"), "")
    manifest |= {"name": "film", "family": "test", "purpose": "image"}
    write_manifest(model, manifest, footprints=[ModelFootprint(name="float32", bytes=FOOTPRINT)])
    return home


@pytest.fixture
def arbiter_ttl_s() -> float:
    """So long that holders renew their leases in time, however busy the machine is."""
    return 30.0


@pytest.fixture
def arbiter_process(tmp_path: Path, arbiter_ttl_s: float) -> Callable[..., AbstractAsyncContextManager[ArbiterProcess]]:
    """Starts an arbiter for the length of a block."""

    @asynccontextmanager
    async def started(
        ttl_s: float = arbiter_ttl_s, ollama: str | None = None, budget: int = BUDGET
    ) -> AsyncIterator[ArbiterProcess]:
        address = f"127.0.0.1:{free_port()}"
        channel = arbiter_channel(address)
        arbiter = ArbiterProcess(
            home=tmp_path / "home", address=address, channel=channel, ttl_s=ttl_s, ollama=ollama, budget=budget
        )
        await arbiter.start()
        try:
            yield arbiter
        finally:
            await channel.close()
            await arbiter.kill()

    return started
