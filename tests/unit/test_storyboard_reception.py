"""Uploads while they come: full disks, too many at once, senders that fall silent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from milimo.v1 import assets_pb2
from milimo_runtime.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted
from milimo_storyboard.reception import Reception

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PIECE = 300_000


def piece(size: int = PIECE, **fields: int) -> assets_pb2.UploadAssetRequest:
    request = assets_pb2.UploadAssetRequest(**fields)
    request.content.data = bytes(index % 251 for index in range(size))
    return request


async def pieces(count: int) -> AsyncIterator[assets_pb2.UploadAssetRequest]:
    for _ in range(count):
        yield piece()


@pytest.mark.parametrize("count", [0, 1, 7])
async def test_what_comes_is_written(tmp_path: Path, count: int) -> None:
    reception = Reception(tmp_path / "own")
    first = piece(size_bytes=(count + 1) * PIECE)
    async with reception.place(first.size_bytes) as path:
        await reception.receive(path, first, pieces(count))
        assert path.read_bytes() == piece().content.data * (count + 1)
    assert list((tmp_path / "own").iterdir()) == []
    with pytest.raises(InvalidArgument, match="size_bytes"):
        async with reception.place(0) as path:
            await reception.receive(path, piece(size_bytes=PIECE - 1), pieces(0))
    await reception.close()


async def test_a_file_that_does_not_fit_the_disk_is_refused_at_once(tmp_path: Path) -> None:
    reception = Reception(tmp_path / "own", reserve_bytes=2**60)
    with pytest.raises(ResourceExhausted) as caught:
        async with reception.place(1):
            pytest.fail("there is no room")
    assert caught.value.reason == "DISK_FULL"
    await reception.close()


async def test_a_disk_that_is_full_is_told(tmp_path: Path) -> None:
    """The system's own answer: each write to this device fails for want of space."""
    reception = Reception(tmp_path / "own")
    with pytest.raises(ResourceExhausted) as caught:
        async with reception.place(0):
            await reception.receive(Path("/dev/full"), piece(), pieces(8))
    assert caught.value.reason == "DISK_FULL"
    assert isinstance(caught.value.__cause__, OSError)
    assert list((tmp_path / "own").iterdir()) == []
    await reception.close()


async def test_other_errors_of_the_disk_are_not_taken_for_it(tmp_path: Path) -> None:
    reception = Reception(tmp_path / "own")
    with pytest.raises(IsADirectoryError):
        async with reception.place(0):
            await reception.receive(tmp_path, piece(), pieces(0))
    await reception.close()


async def test_uploads_take_turns_and_do_not_wait_for_ever(tmp_path: Path) -> None:
    reception = Reception(tmp_path / "own", at_once=2, place_seconds=0.05)
    async with reception.place(0), reception.place(0):
        with pytest.raises(ResourceExhausted) as caught:
            async with reception.place(0):
                pytest.fail("there is no place")
        assert (caught.value.reason, caught.value.retry_after_s) == ("TOO_MANY_UPLOADS", 5.0)
    async with reception.place(0), reception.place(0):
        pass
    await reception.close()


async def test_a_sender_that_falls_silent_gives_its_place_back(tmp_path: Path) -> None:
    reception = Reception(tmp_path / "own", at_once=1, piece_seconds=0.05)

    async def silent() -> AsyncIterator[assets_pb2.UploadAssetRequest]:
        yield piece()
        await asyncio.Event().wait()

    requests = silent()
    with pytest.raises(DeadlineExceeded):
        async with reception.place(0) as path:
            await reception.receive(path, piece(), requests)
    await requests.aclose()
    async with reception.place(0):
        pass
    await reception.close()


async def test_the_folders_of_other_processes_are_left_alone(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "storyboard-one/left", tmp_path / "storyboard-two/running"
    for file in (mine, theirs):
        file.parent.mkdir()
        file.write_bytes(b"half a file")
    await Reception(mine.parent).close()
    assert (mine.exists(), theirs.exists()) == (False, True)
