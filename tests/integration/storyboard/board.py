"""The storyboard as a running process, and what its tests share."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from milimo.v1 import (
    assets_pb2,
    assets_pb2_grpc,
    elements_pb2_grpc,
    jobs_pb2_grpc,
    models_pb2_grpc,
    projects_pb2,
    projects_pb2_grpc,
    storyboard_pb2_grpc,
)
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator


PATIENCE_S = 30.0
MIB = 1 << 20
ONLY_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Storyboard:
    """The running process and its stubs."""

    def __init__(self, process: Any, address: str, channel: grpc.aio.Channel, home: Path) -> None:
        self.address = address
        self.process = process
        self.channel = channel
        self.home = home
        self.projects = projects_pb2_grpc.ProjectServiceStub(channel)
        self.assets = assets_pb2_grpc.AssetServiceStub(channel)
        self.jobs = jobs_pb2_grpc.JobServiceStub(channel)
        self.models = models_pb2_grpc.ModelServiceStub(channel)
        self.scripts = storyboard_pb2_grpc.StoryboardServiceStub(channel)
        self.elements = elements_pb2_grpc.ElementServiceStub(channel)

    async def project(self, name: str = "A film", **fields: Any) -> projects_pb2.Project:
        request = projects_pb2.CreateProjectRequest(project=projects_pb2.Project(name=name, **fields))
        return (await self.projects.CreateProject(request)).project

    async def upload(
        self, project_id: str, data: bytes, *, piece: int = MIB, name: str = "file", size: int = 0, request_id: str = ""
    ) -> assets_pb2.Asset:
        def requests() -> Iterator[assets_pb2.UploadAssetRequest]:
            for start in range(0, max(len(data), 1), piece):
                request = assets_pb2.UploadAssetRequest()
                if start == 0:
                    request = assets_pb2.UploadAssetRequest(
                        project_id=project_id, name=name, size_bytes=size, request_id=request_id
                    )
                request.content.data = data[start : start + piece]
                yield request

        return (await self.assets.UploadAsset(requests(), timeout=PATIENCE_S)).asset

    async def download(self, asset_id: str, **span: int) -> bytes:
        call = self.assets.DownloadAsset(assets_pb2.DownloadAssetRequest(asset_id=asset_id, **span))
        return b"".join([body.data async for body in call])

    @property
    def media(self) -> list[str]:
        root = self.home / "media"
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())

    def mapped_files(self) -> str:
        return Path(f"/proc/{self.process.pid}/maps").read_text()

    def resident_bytes(self) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")


def png(size: tuple[int, int] = (64, 48)) -> bytes:
    data = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(data, "PNG")
    return data.getvalue()


async def refused(call: Any) -> tuple[grpc.StatusCode, list[str]]:
    """The status and the fields at fault."""
    with pytest.raises(grpc.RpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    assert status is not None, caught.value
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert info.domain == "milimo"
    if len(status.details) > 1:
        status.details[1].Unpack(request)
    return caught.value.code(), [violation.field for violation in request.field_violations]


async def read(call: Any) -> list[Any]:
    return [message async for message in call]
