"""Files to and from the media store: in pieces, whole or not at all."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

import grpc
import pytest
from milimo import AsyncMilimo, Milimo, MilimoError, Patience
from milimo.endpoint import CHUNK_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from .studio import Studio

QUICK = Patience(tries=5, first=0.001, longest=0.001)
twins = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "aio"])


def names(folder: Path) -> list[str]:
    """What lies in a folder, partial files too."""
    return sorted(file.name for file in folder.iterdir())


async def upload(address: str, path: Path, *, asynchronous: bool) -> object:
    if asynchronous:
        async with AsyncMilimo(address) as client:
            return await client.upload(path, project_id="p")
    with Milimo(address) as blocking:
        return blocking.upload(path, project_id="p")


async def download(address: str, asset_id: str, path: Path, *, asynchronous: bool) -> Path:
    if asynchronous:
        async with AsyncMilimo(address) as client:
            return await client.download(asset_id, path, patience=QUICK)
    with Milimo(address) as blocking:
        return blocking.download(asset_id, path, patience=QUICK)


@twins
@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
async def test_uploads_come_in_pieces(
    studio: Studio, address: str, tmp_path: Path, asynchronous: bool, size: int
) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(os.urandom(size))
    await upload(address, path, asynchronous=asynchronous)
    asset, data = next(iter(studio.assets.values()))
    assert data == path.read_bytes()
    assert max(studio.upload_pieces) <= CHUNK_BYTES
    assert len(studio.upload_pieces) == max(1, -(-size // CHUNK_BYTES))
    first = studio.requests["UploadAsset"][0]
    assert (first.project_id, first.name, first.size_bytes) == ("p", "picture.png", size)
    assert asset.media_type == "image/png"
    assert first.request_id


@twins
async def test_a_file_that_cannot_be_read(studio: Studio, address: str, tmp_path: Path, asynchronous: bool) -> None:
    with pytest.raises(FileNotFoundError):
        await upload(address, tmp_path / "missing.png", asynchronous=asynchronous)
    assert "UploadAsset" not in studio.requests


@twins
async def test_a_download_goes_on_where_it_broke(
    studio: Studio, address: str, tmp_path: Path, asynchronous: bool
) -> None:
    data = os.urandom(10_500)
    asset = studio.add_asset("p", data, "video/mp4")
    studio.download_cuts = deque([3, 0, 5])
    path = await download(address, asset.id, tmp_path / "video.mp4", asynchronous=asynchronous)
    assert path.read_bytes() == data
    assert [request.offset for request in studio.requests["DownloadAsset"]] == [0, 3000, 3000, 8000]
    assert names(tmp_path) == ["video.mp4"]


@twins
async def test_an_empty_file(studio: Studio, address: str, tmp_path: Path, asynchronous: bool) -> None:
    asset = studio.add_asset("p", b"", "text/plain")
    assert (await download(address, asset.id, tmp_path / "empty", asynchronous=asynchronous)).read_bytes() == b""


@twins
async def test_a_damaged_download_leaves_the_old_file(
    studio: Studio, address: str, tmp_path: Path, asynchronous: bool
) -> None:
    asset = studio.add_asset("p", b"what it should be", "image/png")
    studio.assets[asset.id] = (asset, b"what came instead")
    path = tmp_path / "picture.png"
    path.write_bytes(b"the old one")
    with pytest.raises(MilimoError) as caught:
        await download(address, asset.id, path, asynchronous=asynchronous)
    assert caught.value.code is grpc.StatusCode.DATA_LOSS
    assert path.read_bytes() == b"the old one"
    assert names(tmp_path) == ["picture.png"]


@twins
async def test_a_download_that_never_succeeds(studio: Studio, address: str, tmp_path: Path, asynchronous: bool) -> None:
    asset = studio.add_asset("p", os.urandom(2000), "image/png")
    studio.download_cuts = deque([0] * 100)
    with pytest.raises(MilimoError) as caught:
        await download(address, asset.id, tmp_path / "picture.png", asynchronous=asynchronous)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert names(tmp_path) == []


def test_a_result_is_an_ordinary_file(studio: Studio, address: str, tmp_path: Path) -> None:
    asset = studio.add_asset("p", b"x", "image/png")
    before = os.umask(0o022)
    try:
        with Milimo(address) as client:
            path = client.download(asset.id, tmp_path / "picture.png")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
