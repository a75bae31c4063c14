"""The media store: files by key, on a disk (file:) or in an object store (s3:). Writes are atomic."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from obstore import delete, get, head, list_with_delimiter, put
from obstore import list as list_keys
from obstore.store import from_url

from milimo_runtime.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK: Final = 1 << 20
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")


def asset_key(project_id: str, folder: str, asset_id: str, extension: str) -> str:
    """The key of an asset's file. `folder` is generated, thumbnails or assets; `extension` has no dot.

    Raises:
        ValueError: a part is no plain name: a key must never lead out of its project's folder.
    """
    for part in (project_id, folder, asset_id, extension):
        _require_plain(part)
    return f"projects/{project_id}/{folder}/{asset_id}.{extension}"


def work_key(project_id: str, job_id: str, name: str, extension: str) -> str:
    """The key of a file that a job keeps from one step to the next. Raises ValueError as `asset_key`."""
    for part in (project_id, job_id, name, extension):
        _require_plain(part)
    return f"projects/{project_id}/jobs/{job_id}/{name}.{extension}"


def _require_plain(part: str) -> None:
    if not _PLAIN.fullmatch(part):
        raise ValueError(f"{part!r} cannot be part of a key: letters, digits, - and _ can")


class MediaStore:
    """Files by key, as `asset_key` and `work_key` make them. Blocking: coroutines call through `asyncio.to_thread`."""

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
        _make_folder(target.parent)
        _sync(path)
        try:
            path.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy(path, target)
            path.unlink()
        _sync(target.parent)

    def write(self, data: bytes, key: str, *, scratch: Path) -> None:
        """Stores `data`, through a file in the folder `scratch`."""
        scratch.mkdir(parents=True, exist_ok=True)
        # Made like any other file: those of `tempfile` cannot be read by a gateway that runs as another user.
        path = scratch / f"{uuid.uuid4().hex}.partial"
        try:
            path.write_bytes(data)
            self.publish(path, key)
        finally:
            path.unlink(missing_ok=True)

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

    def exists(self, key: str) -> bool:
        """Whether there is such a file."""
        try:
            head(self._store, key)
        except FileNotFoundError:
            return False
        return True

    def delete_work(self, project_id: str, job_id: str) -> None:
        """Removes what a job kept from one step to the next. Raises ValueError when an id is no plain name."""
        _require_plain(project_id)
        _require_plain(job_id)
        self._delete_below(f"projects/{project_id}/jobs/{job_id}/")

    def work_folders(self) -> Iterator[tuple[str, str]]:
        """Project and job of everything that jobs keep from one step to the next."""
        for project in self._folders_in("projects"):
            for job in self._folders_in(f"{project}/jobs"):
                yield Path(project).name, Path(job).name

    def _folders_in(self, prefix: str) -> list[str]:
        return list(list_with_delimiter(self._store, f"{prefix}/")["common_prefixes"])

    def delete_project(self, project_id: str) -> None:
        """Removes all files of a project. Raises ValueError when the id is no plain name."""
        _require_plain(project_id)
        self._delete_below(f"projects/{project_id}/")

    def _delete_below(self, prefix: str) -> None:
        for batch in list_keys(self._store, prefix):
            for entry in batch:
                self.delete(entry["path"])
        if self._root is not None:
            shutil.rmtree(self._root / prefix, ignore_errors=True)


def _make_folder(folder: Path) -> None:
    """Makes the folder and those above it, for good: their entries are on the disk too."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        _sync(path.parent)


def _copy(path: Path, target: Path) -> None:
    """From another file system: beside the target first, then renamed there."""
    beside = target.with_name(f".{target.name}.partial")
    try:
        shutil.copyfile(path, beside)
        _sync(beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Forces a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
