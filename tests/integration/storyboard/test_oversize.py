"""Uploads that are larger than they may be, cut off, or no messages at all: refused early, and nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from milimo.v1 import assets_pb2, assets_pb2_grpc
from milimo_runtime.channels import open_channel

from .board import MIB, ONLY_SQLITE, PATIENCE_S, Storyboard, png, refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

LIMIT = 256 * MIB
# The process as it is, but for the limit: two gigabytes would take a test too long.
PROGRAM = f"""
import sys
from milimo_runtime import limits
limits.UPLOAD_BYTES = {LIMIT}
from milimo_storyboard.__main__ import main
sys.exit(main())
"""


@pytest.fixture
async def small(
    tmp_path: Path,
    database_url: str,
    service_process: Callable[..., AbstractAsyncContextManager[Any]],
    free_address: Callable[[], str],
) -> AsyncIterator[Storyboard]:
    """A storyboard that takes small uploads only."""
    home, address = tmp_path / "home", free_address()
    environment = {
        "MILIMO_HOME": home,
        "MILIMO_DATABASE_URL": database_url,
        "MILIMO_STORYBOARD_ADDRESS": address,
    }
    async with service_process("-c", PROGRAM, environment=environment) as process:
        channel = open_channel(address)
        async with asyncio.timeout(PATIENCE_S):
            await channel.channel_ready()
        yield Storyboard(process, address, channel, home)
        await channel.close()


def peak_bytes(board: Storyboard) -> int:
    for line in Path(f"/proc/{board.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def left(board: Storyboard) -> list[Path]:
    """Files in the making."""
    return [path for path in (board.home / "scratch").rglob("*") if path.is_file()]


async def cleaned(board: Storyboard) -> None:
    """Returns when nothing is left of an upload: its answer may come a moment before its file goes."""
    async with asyncio.timeout(PATIENCE_S):
        while left(board):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@ONLY_SQLITE
async def test_a_stream_that_never_ends_is_refused_at_the_limit(small: Storyboard) -> None:
    project = await small.project()
    await small.upload(project.id, png())
    before, sent = peak_bytes(small), 0

    def endless() -> Iterator[assets_pb2.UploadAssetRequest]:
        nonlocal sent
        request = assets_pb2.UploadAssetRequest(project_id=project.id)
        request.content.data = bytes(MIB)
        while True:
            yield request
            sent += MIB

    def upload() -> None:
        # The blocking client: asyncio's forgets the answer when it comes while something is written.
        with grpc.insecure_channel(small.address) as channel:
            assets_pb2_grpc.AssetServiceStub(channel).UploadAsset(endless(), timeout=2 * PATIENCE_S)

    assert await refused(asyncio.to_thread(upload)) == (grpc.StatusCode.INVALID_ARGUMENT, ["content"])
    await cleaned(small)
    # Not more than what lies in the buffers on the way.
    assert LIMIT - MIB <= sent < LIMIT + 64 * MIB
    assert peak_bytes(small) - before < LIMIT / 2, "the file goes to the disk, but for what lies in buffers"
    assert len(small.media) == 2
    assert small.process.errors() == []


@ONLY_SQLITE
async def test_a_file_that_is_cut_off_leaves_nothing(storyboard: Storyboard) -> None:
    project = await storyboard.project()

    async def slowly() -> AsyncIterator[assets_pb2.UploadAssetRequest]:
        for _ in range(3):
            request = assets_pb2.UploadAssetRequest(project_id=project.id)
            request.content.data = bytes(MIB)
            yield request
        await asyncio.Event().wait()

    upload = storyboard.assets.UploadAsset(slowly(), timeout=PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S):
        while not left(storyboard):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    upload.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await upload
    await cleaned(storyboard)
    assert storyboard.media == []
    assert storyboard.process.errors() == []


@ONLY_SQLITE
@pytest.mark.parametrize("good", [0, 1])
async def test_bytes_that_are_no_message_of_the_contract(storyboard: Storyboard, good: int) -> None:
    project = await storyboard.project()
    first = assets_pb2.UploadAssetRequest(project_id=project.id)
    first.content.data = png()[:100]
    path = "/milimo.v1.AssetService/UploadAsset"
    # A length that goes beyond the message's end.
    pieces = [*[first.SerializeToString()] * good, b"\x0a\xff\xff\xff\xff\x0f"]

    def upload() -> None:
        with grpc.insecure_channel(storyboard.address) as channel:
            channel.stream_unary(path, request_serializer=bytes)(iter(pieces), timeout=PATIENCE_S)

    assert (await refused(asyncio.to_thread(upload)))[0] is grpc.StatusCode.INVALID_ARGUMENT
    await cleaned(storyboard)
    assert storyboard.process.errors() == []
