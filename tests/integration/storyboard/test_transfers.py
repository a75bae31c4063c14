"""Files on their way up and down."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from milimo.v1 import assets_pb2, assets_pb2_grpc, projects_pb2
from PIL import Image

from .board import MIB, ONLY_SQLITE, PATIENCE_S, Storyboard, png, refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@ONLY_SQLITE
async def test_uploads_and_downloads(storyboard: Storyboard) -> None:
    project = await storyboard.project()
    data, request_id = png((700, 500)), str(uuid.uuid4())
    asset = await storyboard.upload(
        project.id, data, piece=10_000, size=len(data), name="Bild ü", request_id=request_id
    )
    assert (asset.kind, asset.width, asset.height, asset.bytes) == (assets_pb2.ASSET_KIND_IMAGE, 700, 500, len(data))
    assert (asset.name, asset.media_type, asset.job_id) == ("Bild ü", "image/png", "")
    assert asset.sha256 == hashlib.sha256(data).hexdigest()
    media = storyboard.media
    assert media == [asset.url.removeprefix("/media/"), asset.thumbnail_url.removeprefix("/media/")]
    with Image.open(storyboard.home / "media" / media[1]) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("JPEG", (175, 125))

    # In other pieces it is the same request; another file is not.
    assert await storyboard.upload(project.id, data, name="Bild ü", request_id=request_id) == asset
    code, _ = await refused(storyboard.upload(project.id, png(), name="Bild ü", request_id=request_id))
    assert code is grpc.StatusCode.ALREADY_EXISTS
    assert storyboard.media == media

    for offset, limit in ((0, 0), (0, 1), (5, 7), (len(data) - 1, 0), (len(data), 0), (10, 2**62)):
        assert await storyboard.download(asset.id, offset=offset, limit=limit) == data[offset:][: limit or None]
    listed = await storyboard.assets.ListAssets(assets_pb2.ListAssetsRequest(project_id=project.id))
    assert list(listed.assets) == [asset]
    none = assets_pb2.ListAssetsRequest(project_id=project.id, kind=assets_pb2.ASSET_KIND_VIDEO)
    assert list((await storyboard.assets.ListAssets(none)).assets) == []
    rename = assets_pb2.UpdateAssetRequest(asset=assets_pb2.Asset(id=asset.id, name="neu"))
    assert (await storyboard.assets.UpdateAsset(rename)).asset.name == "neu"
    await storyboard.assets.DeleteAsset(assets_pb2.DeleteAssetRequest(asset_id=asset.id))
    assert storyboard.media == []


@ONLY_SQLITE
async def test_an_upload_that_grows_too_large_is_refused_while_it_comes(
    storyboard: Storyboard,
) -> None:
    project = await storyboard.project()
    sent = 0

    def endless() -> Iterator[assets_pb2.UploadAssetRequest]:
        nonlocal sent
        request = assets_pb2.UploadAssetRequest(project_id=project.id, size_bytes=3 * 1024**3)
        request.content.data = bytes(MIB)
        while True:
            yield request
            sent += MIB

    def upload() -> None:
        # The blocking client: asyncio's forgets the answer when it comes while something is written.
        with grpc.insecure_channel(storyboard.address) as channel:
            assets_pb2_grpc.AssetServiceStub(channel).UploadAsset(endless(), timeout=PATIENCE_S)

    assert await refused(asyncio.to_thread(upload)) == (grpc.StatusCode.INVALID_ARGUMENT, ["size_bytes"])
    # Not more than what lies in the buffers on the way.
    assert sent < 64 * MIB


@ONLY_SQLITE
async def test_a_project_that_goes_while_a_file_comes(storyboard: Storyboard) -> None:
    project = await storyboard.project()
    began, deleted = asyncio.Event(), asyncio.Event()
    data = png()

    async def slowly() -> AsyncIterator[assets_pb2.UploadAssetRequest]:
        first = assets_pb2.UploadAssetRequest(project_id=project.id)
        first.content.data = data[:100]
        yield first
        # Asked for the next message, gRPC has sent the first.
        began.set()
        await deleted.wait()
        rest = assets_pb2.UploadAssetRequest()
        rest.content.data = data[100:]
        yield rest

    upload = storyboard.assets.UploadAsset(slowly(), timeout=PATIENCE_S)
    # Both calls are on one connection: the upload's first message has been read before it is answered.
    await began.wait()
    await storyboard.projects.DeleteProject(projects_pb2.DeleteProjectRequest(project_id=project.id))
    deleted.set()
    assert await refused(upload) == (grpc.StatusCode.NOT_FOUND, ["project_id"])
    assert storyboard.media == []
