"""One process of a kind in a folder: a second one would take up the first one's running jobs and wipe its scratch."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class AlreadyRuns(OSError):
    """Another process of the same name works in the folder."""


@contextlib.contextmanager
def process_lock(home: Path, name: str) -> Iterator[None]:
    """Holds `<home>/run/<name>.lock` for the length of the block; the kernel lets go of it when the process dies.

    Raises:
        AlreadyRuns: another process holds it.
    """
    path = home / "run" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise AlreadyRuns(f"{name} runs in {home} already, as the process {holder}") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
