"""Becomes another program that dies with its parent: `python exec_child.py [OPTION] PROGRAM ARGUMENT...`

A supervisor that is killed cannot stop its children: they would go on without it and hold their ports. So each child
first asks the kernel for SIGTERM at its parent's death (prctl(2), PR_SET_PDEATHSIG; the request survives execve),
writes its process id, and then becomes the program. Uses the standard library only and is run as a file, so that it
costs a few milliseconds. Where there is no prctl, on macOS, it only writes the id.

A parent may die before the request is made: then the signal would never come. Each program therefore tells those that
it starts its own id, in MILIMO_PARENT_PID, and a child that finds itself with another parent ends at once.

Options: --pid-file FILE writes the id there; --detached lets the program outlive its parent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PARENT = "MILIMO_PARENT_PID"


def die_with_parent(parent: int | None) -> None:
    """Asks for SIGTERM when the parent dies; `parent` is its id where that is known.

    Raises:
        SystemExit: when it has died already.
    """
    if sys.platform.startswith("linux"):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if parent is not None and os.getppid() != parent:
        raise SystemExit(1)


def main(arguments: list[str]) -> None:
    """Never returns."""
    told = os.environ.get(PARENT)
    if arguments[0] == "--detached":
        arguments = arguments[1:]
    else:
        die_with_parent(int(told) if told else None)
    if arguments[0] == "--pid-file":
        path = Path(arguments[1])
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        partial.write_text(f"{os.getpid()}\n", encoding="ascii")
        partial.replace(path)
        arguments = arguments[2:]
    # The program keeps this process's id: it is the parent of whatever it starts.
    os.execve(arguments[0], arguments, {**os.environ, PARENT: str(os.getpid())})  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
