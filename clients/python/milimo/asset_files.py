"""Local files on their way to and from the media store: pieces of a file, and a file in the making."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from google.api import httpbody_pb2

from milimo.endpoint import CHUNK_BYTES
from milimo.errors import MilimoError
from milimo.v1 import assets_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self


def media_type_of(path: Path) -> str:
    """The media type that the file's name suggests; the server looks at the content."""
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def upload_requests(path: Path, *, project_id: str, name: str | None = None) -> Iterator[assets_pb2.UploadAssetRequest]:
    """The file in pieces of at most 1 MiB; the first one carries its name and size.

    Raises:
        OSError: when the file cannot be read.
    """
    with path.open("rb") as file:
        piece = file.read(CHUNK_BYTES)
        yield assets_pb2.UploadAssetRequest(
            project_id=project_id,
            name=(name or path.name)[:200],
            size_bytes=path.stat().st_size,
            content=httpbody_pb2.HttpBody(content_type=media_type_of(path), data=piece),
            request_id=str(uuid.uuid4()),
        )
        while piece := file.read(CHUNK_BYTES):
            yield assets_pb2.UploadAssetRequest(content=httpbody_pb2.HttpBody(data=piece))


class PartialFile:
    """A file that appears under its name only when it is complete.

    Use it as a context manager: without `commit`, leaving it removes what was written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self.size = 0
        # On the same file system, so that the last step is one rename.
        number, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        self._partial = Path(name)
        self._file = os.fdopen(number, "wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Appends bytes."""
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def commit(self, asset: assets_pb2.Asset) -> Path:
        """Checks size and checksum, then gives the file its name.

        Raises:
            MilimoError: DATA_LOSS when it is not the asset's content.
        """
        wrong_sum = asset.sha256 and asset.sha256 != self._digest.hexdigest()
        if wrong_sum or self.size != asset.bytes:
            raise MilimoError(
                grpc.StatusCode.DATA_LOSS,
                f"asset {asset.id} arrived damaged: {self.size} of {asset.bytes} bytes, or another checksum",
                reason="ASSET_DAMAGED",
            )
        self._file.flush()
        os.fsync(self._file.fileno())
        # What mkstemp made is for its owner only; a result is an ordinary file.
        mask = os.umask(0)
        os.umask(mask)
        self._partial.chmod(0o666 & ~mask)
        self._partial.replace(self._path)
        return self._path
