"""A lock of etcd, for comparison: a node of its own for the length of a block, and the two calls that a lock takes."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from typing import TYPE_CHECKING, Any, Final

import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from milimo_deploy.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_SESSION_SECONDS: Final = 600
_START_SECONDS: Final = 20.0
# Of etcd's rpc.proto and v3lock.proto, what a lock needs: field names with their numbers.
_FIELDS: Final[dict[str, dict[str, tuple[int, str]]]] = {
    "LeaseGrantRequest": {"TTL": (1, "INT64")},
    "LeaseGrantResponse": {"ID": (2, "INT64")},
    "LockRequest": {"name": (1, "BYTES"), "lease": (2, "INT64")},
    "LockResponse": {"key": (2, "BYTES")},
    "UnlockRequest": {"key": (1, "BYTES")},
    "UnlockResponse": {},
}


def _messages() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="etcd_lock.proto", package="bench_etcd", syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            message.field.add(
                name=field,
                number=number,
                type=descriptor_pb2.FieldDescriptorProto.Type.Value(f"TYPE_{kind}"),
                label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"bench_etcd.{name}")) for name in _FIELDS}


class Etcd:
    """A client with one session: its lease is granted once, and every lock hangs on it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._types = _messages()
        self._grant = self._method(channel, "/etcdserverpb.Lease/LeaseGrant", "LeaseGrant")
        self._lock = self._method(channel, "/v3lockpb.Lock/Lock", "Lock")
        self._unlock = self._method(channel, "/v3lockpb.Lock/Unlock", "Unlock")
        self._session = 0

    def _method(self, channel: grpc.aio.Channel, path: str, name: str) -> Any:
        return channel.unary_unary(
            path,
            request_serializer=self._types[f"{name}Request"].SerializeToString,
            response_deserializer=self._types[f"{name}Response"].FromString,
        )

    async def open(self) -> None:
        """Waits until etcd answers, and opens the session."""
        request = self._types["LeaseGrantRequest"](TTL=_SESSION_SECONDS)
        self._session = (await self._grant(request, wait_for_ready=True, timeout=_START_SECONDS)).ID

    async def lock_ms(self, name: str) -> float:
        """Milliseconds until a lock is held that nobody else wants; it is given back afterwards."""
        begin = time.monotonic()
        key = await self._take(name)
        took = (time.monotonic() - begin) * 1e3
        await self._unlock(self._types["UnlockRequest"](key=key))
        return took

    async def lock_and_unlock(self, number: int) -> None:
        """Takes and gives back the lock of that number."""
        await self._unlock(self._types["UnlockRequest"](key=await self._take(f"tenant-{number}")))

    async def _take(self, name: str) -> bytes:
        request = self._types["LockRequest"](name=name.encode(), lease=self._session)
        key: bytes = (await self._lock(request)).key
        return key


def find_etcd() -> str | None:
    """The program, if it is installed (Debian: etcd-server)."""
    return shutil.which("etcd") or shutil.which("etcd", path="/usr/bin:/usr/local/bin")


@contextlib.asynccontextmanager
async def running_etcd(binary: str, folder: Path) -> AsyncIterator[Etcd]:
    """A single node on free ports of this machine, with its data in `folder`."""
    client, peer = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    with (folder / "etcd.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            binary,
            *("--name", "bench", "--data-dir", str(folder / "data"), "--log-level", "error"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"bench={peer}"),
            stdout=log,
            stderr=log,
            # As the mesh has: Linux shares the processor out between sessions.
            start_new_session=True,
        )
    try:
        async with grpc.aio.insecure_channel(client.removeprefix("http://")) as channel:
            etcd = Etcd(channel)
            await etcd.open()
            yield etcd
    finally:
        process.terminate()
        await process.wait()
