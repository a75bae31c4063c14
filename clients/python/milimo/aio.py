"""The asyncio client, the twin of `client`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from milimo.aio_transport import open_channel
from milimo.asset_files import PartialFile, upload_requests
from milimo.cursor import Patience
from milimo.endpoint import DEFAULT_ADDRESS, parse_address
from milimo.errors import MilimoError
from milimo.v1 import assets_pb2
from milimo.v1.arbiter_pb2_grpc import MemoryArbiterStub
from milimo.v1.assets_pb2_grpc import AssetServiceStub
from milimo.v1.elements_pb2_grpc import ElementServiceStub
from milimo.v1.image_pb2_grpc import ImageServiceStub
from milimo.v1.jobs_pb2_grpc import JobServiceStub
from milimo.v1.models_pb2_grpc import ModelServiceStub
from milimo.v1.projects_pb2_grpc import ProjectServiceStub
from milimo.v1.prompts_pb2_grpc import PromptServiceStub
from milimo.v1.segmentation_pb2_grpc import SegmentationServiceStub
from milimo.v1.storyboard_pb2_grpc import StoryboardServiceStub
from milimo.v1.text_pb2_grpc import TextGenerationServiceStub
from milimo.v1.video_pb2_grpc import VideoServiceStub
from milimo.watch import AsyncJobWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Self


class AsyncMilimo:
    """A mesh, seen from a program with an event loop. Every call raises MilimoError and nothing else of its own.

    Attributes are the public services, each with its typed methods: `await milimo.videos.SubmitVideo(request)`.
    Made inside a running event loop. Arguments and errors as for `Milimo`.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, *, api_key: str | None = None) -> None:
        self.address = address
        self._channel = channel = open_channel(parse_address(address, api_key=api_key))
        self.videos = VideoServiceStub(channel)
        self.images = ImageServiceStub(channel)
        self.segmentation = SegmentationServiceStub(channel)
        self.storyboard = StoryboardServiceStub(channel)
        self.projects = ProjectServiceStub(channel)
        self.elements = ElementServiceStub(channel)
        self.assets = AssetServiceStub(channel)
        self.prompts = PromptServiceStub(channel)
        self.jobs = JobServiceStub(channel)
        self.models = ModelServiceStub(channel)
        # Answered by the video process itself, where `address` is its own: the gateway does not lead there.
        self.texts = TextGenerationServiceStub(channel)
        self.gpu = MemoryArbiterStub(channel)

    def watch(
        self, job_id: str, *, after_sequence: int = 0, previews: bool = False, patience: Patience | None = None
    ) -> AsyncJobWatch:
        """The events of a job after a sequence number, to its end; see JobWatch."""
        return AsyncJobWatch(self.jobs, job_id, after_sequence=after_sequence, previews=previews, patience=patience)

    async def upload(self, path: Path | str, *, project_id: str, name: str | None = None) -> assets_pb2.Asset:
        """Stores a local file in a project; see `Milimo.upload`."""
        requests = upload_requests(Path(path), project_id=project_id, name=name)
        # The first piece is read here, so that a file that cannot be read is an OSError of this call.
        first = await asyncio.to_thread(next, requests)
        return (await self.assets.UploadAsset(_pieces(first, requests))).asset

    async def download(self, asset_id: str, path: Path | str, *, patience: Patience | None = None) -> Path:
        """Writes an asset to a local file, which appears only when it is complete; see `Milimo.download`."""
        asset = (await self.assets.GetAsset(assets_pb2.GetAssetRequest(asset_id=asset_id))).asset
        pauses = (patience or Patience()).pauses()
        with PartialFile(Path(path)) as file:
            while file.size < asset.bytes:
                try:
                    request = assets_pb2.DownloadAssetRequest(asset_id=asset_id, offset=file.size)
                    async for piece in self.assets.DownloadAsset(request):
                        await asyncio.to_thread(file.write, piece.data)
                    break
                except MilimoError as error:
                    pause = next(pauses, None) if error.is_transient else None
                    if pause is None:
                        raise
                    await asyncio.sleep(pause)
            return await asyncio.to_thread(file.commit, asset)

    async def close(self) -> None:
        """Ends every call and the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _pieces(
    first: assets_pb2.UploadAssetRequest, rest: Iterator[assets_pb2.UploadAssetRequest]
) -> AsyncIterator[assets_pb2.UploadAssetRequest]:
    yield first
    while (piece := await asyncio.to_thread(next, rest, None)) is not None:
        yield piece
