"""Files as they arrive: block by block to the disk, a few at a time, none when the disk is full."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from milimo_runtime.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted
from milimo_runtime.limits import DISK_RESERVE_BYTES, UPLOAD_PIECE_SECONDS, UPLOADS_AT_ONCE

from milimo_storyboard.uploads import check_size

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from milimo.v1.assets_pb2 import UploadAssetRequest

T = TypeVar("T")

# What is gathered before it is written.
_BLOCK_BYTES: Final = 1 << 20
# How long an upload waits for a place among those at work, in seconds, and when it is worth another try.
_PLACE_SECONDS: Final = 30.0
_RETRY_SECONDS: Final = 5.0
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Reception:
    """The uploads of this process, with threads of their own: disks and decoders hold up nothing else."""

    def __init__(
        self,
        folder: Path,
        *,
        at_once: int = UPLOADS_AT_ONCE,
        reserve_bytes: int = DISK_RESERVE_BYTES,
        place_seconds: float = _PLACE_SECONDS,
        piece_seconds: float = UPLOAD_PIECE_SECONDS,
    ) -> None:
        """`folder` belongs to this process: what an earlier one left there is removed.

        Args:
            folder: takes files while they arrive.
            at_once: uploads at work; others wait.
            reserve_bytes: of the disk, for everything else that grows.
            place_seconds: how long an upload waits for one of the places.
            piece_seconds: how long a sender may be silent.
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder = folder
        self._reserve = reserve_bytes
        self._place_seconds = place_seconds
        self._piece_seconds = piece_seconds
        self._places = asyncio.Semaphore(at_once)
        self._threads = ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="upload")

    async def close(self) -> None:
        """Waits for the threads."""
        await asyncio.to_thread(self._threads.shutdown)

    @contextlib.asynccontextmanager
    async def place(self, size_bytes: int) -> AsyncIterator[Path]:
        """Waits for a place among the uploads at work and gives a path for the file, which is removed afterwards.

        Raises:
            ResourceExhausted: there is none for long (TOO_MANY_UPLOADS), or a file of `size_bytes`, 0 when it is not
                known, does not fit the disk (DISK_FULL). Also for what runs out of disk inside the block.
        """
        try:
            async with asyncio.timeout(self._place_seconds):
                await self._places.acquire()
        except TimeoutError as error:
            raise ResourceExhausted(
                "too many uploads are at work already", reason="TOO_MANY_UPLOADS", retry_after_s=_RETRY_SECONDS
            ) from error
        try:
            with disk_full_told(), tempfile.TemporaryDirectory(dir=self._folder) as folder:
                self._check_room(size_bytes)
                yield Path(folder) / "upload"
        finally:
            self._places.release()

    async def receive(self, path: Path, first: UploadAssetRequest, rest: AsyncIterator[UploadAssetRequest]) -> None:
        """Writes the file of an upload to `path`, as it comes.

        Raises:
            InvalidArgument: it is larger than an upload may be, or of another size than it says.
            ResourceExhausted: the disk is full.
            DeadlineExceeded: the sender fell silent.
        """
        received = len(first.content.data)
        block = bytearray(first.content.data)
        with path.open("wb", buffering=0) as file:

            def write(data: bytes) -> None:
                self._check_room(len(data))
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]

            while (request := await self._next(rest)) is not None:
                received += len(request.content.data)
                check_size(received, field="content")
                block += request.content.data
                if len(block) >= _BLOCK_BYTES:
                    await self.in_thread(lambda data=bytes(block): write(data))  # type: ignore[misc]
                    block.clear()
            await self.in_thread(lambda: write(bytes(block)))
        if first.size_bytes and received != first.size_bytes:
            raise InvalidArgument("size_bytes", f"says {first.size_bytes}, but {received} bytes came")

    async def _next(self, requests: AsyncIterator[UploadAssetRequest]) -> UploadAssetRequest | None:
        try:
            async with asyncio.timeout(self._piece_seconds) as silence:
                return await anext(requests, None)
        except TimeoutError as error:
            if not silence.expired():
                raise
            raise DeadlineExceeded(f"nothing came of the file for {self._piece_seconds:g} s") from error

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Does `work` in a thread, and returns no sooner than it has ended, also when this is cancelled."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            if not future.cancelled():
                # Nobody is told of it any more.
                future.exception()
            raise

    def _check_room(self, size: int) -> None:
        if shutil.disk_usage(self._folder).free < size + self._reserve:
            raise disk_full()


def disk_full() -> ResourceExhausted:
    """What a user is told when there is no room for a file."""
    return ResourceExhausted(
        "the disk of the server is full: delete projects or assets, or give it more room", reason="DISK_FULL"
    )


@contextlib.contextmanager
def disk_full_told() -> Iterator[None]:
    """Turns the system's errors about a full disk into ResourceExhausted (DISK_FULL)."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise disk_full() from error
