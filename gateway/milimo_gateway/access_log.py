"""Keeps the access log from growing for ever: Envoy writes it, but does not rotate it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

log = logging.getLogger(__name__)

# As many as supervisord keeps of the processes' logs.
BACKUPS: Final = 3
_LOOK_S: Final = 5.0


def _backup(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def rotate(path: Path) -> None:
    """Moves the log to `.1`, `.1` to `.2` and so on; the oldest is gone. Raises OSError."""
    for number in range(BACKUPS, 1, -1):
        younger = _backup(path, number - 1)
        if younger.exists():
            younger.replace(_backup(path, number))
    path.replace(_backup(path, 1))


def bound(path: Path, max_bytes: int) -> bool:
    """Rotates the log when it is larger than it may be; a pipe or a terminal never is.

    Returns whether the writer has to open the path anew, also because somebody else has moved the file away.

    Raises:
        OSError: when the file cannot be moved.
    """
    if path.is_file() and path.stat().st_size > max_bytes:
        rotate(path)
    return not path.exists()


async def keep_bounded(path: Path, *, max_bytes: int, reopen: Callable[[], Awaitable[None]]) -> None:
    """Looks at the log now and then, for ever, and rotates it; `reopen` has its writer open the path anew."""
    while True:
        await asyncio.sleep(_LOOK_S)
        try:
            if bound(path, max_bytes):
                await reopen()
                log.info("rotated the access log", extra={"action": "rotated", "path": str(path)})
        except OSError as error:
            log.warning("cannot rotate the access log", extra={"action": "rotation_failed", "error": str(error)})
