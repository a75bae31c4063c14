"""AssetService: uploads, downloads and the rows of media files."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

from google.api import httpbody_pb2
from milimo.v1 import assets_pb2, assets_pb2_grpc
from milimo_runtime.answered import answer_once
from milimo_runtime.assets import (
    Asset,
    AssetKind,
    delete_asset_files,
    from_row,
    new_id,
    require_asset,
    require_project,
    sha256_of,
    to_row,
)
from milimo_runtime.database import now
from milimo_runtime.errors import InvalidArgument, NotFound, OutOfRange
from milimo_runtime.job_messages import asset_message
from milimo_runtime.media import asset_key
from milimo_runtime.paging import Place, cut, page_size, place_of
from milimo_runtime.schema import AssetRow

from milimo_storyboard.asset_list import list_assets
from milimo_storyboard.elements import require_unused
from milimo_storyboard.reception import Reception
from milimo_storyboard.uploads import check_size, inspect_upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import grpc.aio
    from milimo_runtime.database import Database
    from milimo_runtime.media import MediaStore
    from sqlalchemy.orm import Session

    Context = grpc.aio.ServicerContext[Any, Any]


class AssetService(assets_pb2_grpc.AssetServiceServicer):
    """Media files."""

    def __init__(
        self, database: Database, media: MediaStore, scratch: Path, reception: Reception | None = None
    ) -> None:
        """`scratch` is this process's own folder, on the disk of the media; what an earlier one left there goes."""
        self._database = database
        self._media = media
        self._scratch = scratch
        self._reception = reception or Reception(scratch)

    async def close(self) -> None:
        """Waits for the uploads that are being stored."""
        await self._reception.close()

    async def UploadAsset(
        self, request_iterator: AsyncIterator[assets_pb2.UploadAssetRequest], context: Context
    ) -> assets_pb2.UploadAssetResponse:
        """Receives a file, decodes it, and stores it."""
        first = await anext(request_iterator, None)
        if first is None:
            raise InvalidArgument("project_id", "is missing: the stream held no message")
        check_size(first.size_bytes, field="size_bytes")
        await asyncio.to_thread(self._require_project, first.project_id)
        async with self._reception.place(first.size_bytes) as path:
            await self._reception.receive(path, first, request_iterator)
            return await self._reception.in_thread(lambda: self._store(first, path))

    def _require_project(self, project_id: str) -> None:
        with self._database.read() as session:
            require_project(session, project_id)

    def _store(self, first: assets_pb2.UploadAssetRequest, path: Path) -> assets_pb2.UploadAssetResponse:
        facts, picture = inspect_upload(path)
        asset_id = new_id()
        asset = Asset(
            id=asset_id,
            project_id=first.project_id,
            kind=facts.kind,
            name=first.name,
            media_type=facts.media_type,
            width=facts.width,
            height=facts.height,
            num_frames=facts.num_frames,
            fps=facts.fps,
            duration_seconds=facts.duration_seconds,
            bytes=path.stat().st_size,
            sha256=sha256_of(path),
            key=asset_key(first.project_id, "assets", asset_id, facts.extension),
            thumbnail_key=asset_key(first.project_id, "thumbnails", asset_id, "jpg") if picture else "",
            created_at=now(),
        )
        kept = False
        try:
            # Files first: a row never stands without them. And before the transaction: while gigabytes go to the disk,
            # nobody else could write to the database.
            self._media.publish(path, asset.key)
            if picture:
                data = io.BytesIO()
                picture.save(data, "JPEG", quality=85)
                self._media.write(data.getvalue(), asset.thumbnail_key, scratch=self._scratch)
            response = self._record(first, asset)
            kept = response.asset.id == asset.id
        finally:
            if not kept:
                delete_asset_files(self._media, asset)
        return response

    def _record(self, first: assets_pb2.UploadAssetRequest, asset: Asset) -> assets_pb2.UploadAssetResponse:
        # What the file holds names the request: the pieces in which it came do not matter.
        named = assets_pb2.UploadAssetRequest(project_id=first.project_id, name=first.name, request_id=first.request_id)
        named.content.data = asset.sha256.encode()

        def store(session: Session) -> assets_pb2.UploadAssetResponse:
            # It may have been deleted while the file came.
            require_project(session, first.project_id, stays=True)
            session.add(to_row(asset))
            return assets_pb2.UploadAssetResponse(asset=asset_message(asset))

        return answer_once(self._database, named, assets_pb2.UploadAssetResponse, store)

    async def DownloadAsset(
        self, request: assets_pb2.DownloadAssetRequest, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """The file's bytes, or a span of them."""
        asset = await asyncio.to_thread(self._get, request.asset_id)
        if request.offset > asset.bytes:
            raise OutOfRange("offset", f"lies behind the end of the file, which has {asset.bytes} bytes")
        blocks = self._media.read(asset.key, offset=request.offset, limit=request.limit)
        while block := await asyncio.to_thread(next, blocks, b""):
            yield httpbody_pb2.HttpBody(content_type=asset.media_type, data=block)

    async def GetAsset(self, request: assets_pb2.GetAssetRequest, context: Context) -> assets_pb2.GetAssetResponse:
        """One asset."""
        return assets_pb2.GetAssetResponse(asset=asset_message(await asyncio.to_thread(self._get, request.asset_id)))

    def _get(self, asset_id: str) -> Asset:
        with self._database.read() as session:
            return require_asset(session, asset_id)

    async def ListAssets(
        self, request: assets_pb2.ListAssetsRequest, context: Context
    ) -> assets_pb2.ListAssetsResponse:
        """A page of a project's assets."""
        size = page_size(request.page_size)
        after = place_of(request.page_token)
        kind = AssetKind(assets_pb2.AssetKind.Name(request.kind)[11:].lower()) if request.kind else None

        def find() -> assets_pb2.ListAssetsResponse:
            with self._database.read() as session:
                require_project(session, request.project_id)
                found = list_assets(session, request.project_id, kind=kind, after=after, limit=size + 1)
            page, token = cut(found, size, lambda asset: Place(time=asset.created_at, id=asset.id).token, asset_message)
            return assets_pb2.ListAssetsResponse(assets=page, next_page_token=token)

        return await asyncio.to_thread(find)

    async def UpdateAsset(
        self, request: assets_pb2.UpdateAssetRequest, context: Context
    ) -> assets_pb2.UpdateAssetResponse:
        """Changes the name."""
        return await asyncio.to_thread(self._update, request)

    def _update(self, request: assets_pb2.UpdateAssetRequest) -> assets_pb2.UpdateAssetResponse:
        wrong = [path for path in request.update_mask.paths if path != "name"]
        if wrong:
            raise InvalidArgument("update_mask", f"{wrong[0]!r} cannot be changed; only the name can")

        def rename(session: Session) -> assets_pb2.UpdateAssetResponse:
            asset = require_asset(session, request.asset.id, field_name="asset.id")
            row = session.get_one(AssetRow, asset.id)
            row.name = request.asset.name
            session.flush()
            return assets_pb2.UpdateAssetResponse(asset=asset_message(require_asset(session, asset.id)))

        return answer_once(self._database, request, assets_pb2.UpdateAssetResponse, rename)

    async def DeleteAsset(
        self, request: assets_pb2.DeleteAssetRequest, context: Context
    ) -> assets_pb2.DeleteAssetResponse:
        """Removes the file and its row."""
        return await asyncio.to_thread(self._delete, request)

    def _delete(self, request: assets_pb2.DeleteAssetRequest) -> assets_pb2.DeleteAssetResponse:
        deleted: list[Asset] = []

        def delete(session: Session) -> assets_pb2.DeleteAssetResponse:
            row = session.get(AssetRow, request.asset_id, with_for_update=True)
            if row is None:
                raise NotFound("asset", request.asset_id)
            require_unused(session, row)
            session.delete(row)
            deleted.append(from_row(row))
            return assets_pb2.DeleteAssetResponse()

        response = answer_once(self._database, request, assets_pb2.DeleteAssetResponse, delete)
        # After the row: a file without a row can be collected, a row without its file would be broken.
        for asset in deleted:
            delete_asset_files(self._media, asset)
        return response
