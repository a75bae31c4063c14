"""The synchronous client."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from milimo.asset_files import PartialFile, upload_requests
from milimo.cursor import Patience
from milimo.endpoint import DEFAULT_ADDRESS, parse_address
from milimo.errors import MilimoError
from milimo.health import HealthStub
from milimo.transport import open_channel
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
from milimo.watch import JobWatch

if TYPE_CHECKING:
    from typing import Self


class Milimo:
    """A mesh, seen from a program. Every call raises MilimoError and nothing else of its own.

    Attributes are the public services, each with its typed methods: `milimo.videos.SubmitVideo(request)`.

    Args:
        address: where the gateway answers: "host:port", "http://host:port" or "https://host".
        api_key: the gateway's key, where it wants one.

    Raises:
        ValueError: when the address is none.
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
        self.health = HealthStub(channel)

    def watch(
        self, job_id: str, *, after_sequence: int = 0, previews: bool = False, patience: Patience | None = None
    ) -> JobWatch:
        """The events of a job after a sequence number, to its end; see JobWatch."""
        return JobWatch(self.jobs, job_id, after_sequence=after_sequence, previews=previews, patience=patience)

    def upload(self, path: Path | str, *, project_id: str, name: str | None = None) -> assets_pb2.Asset:
        """Stores a local image, video or sound in a project, in pieces of at most 1 MiB.

        Raises:
            MilimoError: INVALID_ARGUMENT when the server does not take such a file; NOT_FOUND without the project.
            OSError: when the file cannot be read.
        """
        path = Path(path)
        # Opened here too: an error inside a request stream would reach the caller as a broken call.
        with path.open("rb"):
            requests = upload_requests(path, project_id=project_id, name=name)
            return self.assets.UploadAsset(requests).asset

    def download(self, asset_id: str, path: Path | str, *, patience: Patience | None = None) -> Path:
        """Writes an asset to a local file, which appears only when it is complete.

        A dropped stream is taken up at the byte where it broke.

        Raises:
            MilimoError: NOT_FOUND; DATA_LOSS when the content is not what the server says it is.
            OSError: when the file cannot be written.
        """
        asset = self.assets.GetAsset(assets_pb2.GetAssetRequest(asset_id=asset_id)).asset
        pauses = (patience or Patience()).pauses()
        with PartialFile(Path(path)) as file:
            while file.size < asset.bytes:
                try:
                    request = assets_pb2.DownloadAssetRequest(asset_id=asset_id, offset=file.size)
                    for piece in self.assets.DownloadAsset(request):
                        file.write(piece.data)
                    break
                except MilimoError as error:
                    pause = next(pauses, None) if error.is_transient else None
                    if pause is None:
                        raise
                    time.sleep(pause)
            return file.commit(asset)

    def close(self) -> None:
        """Ends every call and the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
