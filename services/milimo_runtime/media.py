"""The media store: files by key, on a disk (file:) or in an object store (s3:). Writes are atomic."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from obstore import delete, get, head, put
from obstore import list as list_keys
from obstore.store import from_url

from milimo_runtime.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK: Final = 1 << 20


def asset_key(project_id: str, folder: str, asset_id: str, extension: str) -> str:
    """The key of an asset's file. `folder` is generated, thumbnails or assets; `extension` has no dot."""
    return f"projects/{project_id}/{folder}/{asset_id}.{extension}"


class MediaStore:
    """Files by key. Blocking: coroutines call through `asyncio.to_thread`. Keys are made by `asset_key` alone."""

    def __init__(self, url: str) -> None:
        """Opens the store at a file: or s3: URL. A folder is made when it is missing."""
        parts = urlsplit(url)
        self._root: Path | None = None
        if parts.scheme == "file":
            self._root = Path(unquote(parts.path))
            self._root.mkdir(parents=True, exist_ok=True)
            url = self._root.as_uri()
        self._store = from_url(url)

    def publish(self, path: Path, key: str) -> None:
        """Moves a finished file into the store: afterwards it is there as a whole, also after a power cut."""
        if self._root is None:
            with path.open("rb") as file:
                put(self._store, key, file)
            path.unlink()
            return
        target = self._root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        _sync(path)
        try:
            path.replace(target)
        except OSError:
            # Another file system: copy beside the target, then rename there.
            beside = target.with_name(f".{target.name}.partial")
            shutil.copyfile(path, beside)
            _sync(beside)
            beside.replace(target)
            path.unlink()
        _sync(target.parent)

    def write(self, data: bytes, key: str, *, scratch: Path) -> None:
        """Stores `data`, through a file in the folder `scratch`."""
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=scratch, delete=False) as file:
            file.write(data)
        self.publish(Path(file.name), key)

    def read(self, key: str, *, offset: int = 0, limit: int = 0) -> Iterator[bytes]:
        """The file's bytes from `offset` on, `limit` of them or (0) to the end, in blocks of at most 1 MiB.

        Raises:
            NotFound: when there is no such file.
        """
        try:
            size = head(self._store, key)["size"]
        except FileNotFoundError as error:
            raise NotFound("file", key, field="asset_id") from error
        end = min(size, offset + limit) if limit else size
        for start in range(offset, end, _BLOCK):
            stop = min(start + _BLOCK, end)
            yield bytes(get(self._store, key, options={"range": (start, stop)}).bytes())

    @contextlib.contextmanager
    def local(self, key: str, *, scratch: Path) -> Iterator[Path]:
        """The file as a path on this machine, for decoders: the file itself, or a copy in the folder `scratch`.

        Raises:
            NotFound: when there is no such file.
        """
        if self._root is not None:
            path = self._root / key
            if not path.is_file():
                raise NotFound("file", key, field="asset_id")
            yield path
            return
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=scratch, suffix=Path(key).suffix) as file:
            for block in self.read(key):
                file.write(block)
            file.flush()
            yield Path(file.name)

    def delete(self, key: str) -> None:
        """Removes the file; a missing one is no error."""
        with contextlib.suppress(FileNotFoundError):
            delete(self._store, key)

    def delete_project(self, project_id: str) -> None:
        """Removes all files of a project."""
        prefix = f"projects/{project_id}/"
        for batch in list_keys(self._store, prefix):
            for entry in batch:
                self.delete(entry["path"])
        if self._root is not None:
            shutil.rmtree(self._root / prefix, ignore_errors=True)


def _sync(path: Path) -> None:
    """Forces a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
