"""Becomes another program that dies with its parent: `python exec_child.py [--pid-file FILE] PROGRAM ARGUMENT...`

A supervisor that is killed cannot stop its children: they would go on without it and hold their ports. So each child
first asks the kernel for SIGTERM at its parent's death (prctl(2), PR_SET_PDEATHSIG; the request survives execve),
writes its process id, and then becomes the program. Uses the standard library only and is run as a file, so that it
costs a few milliseconds. Where there is no prctl, on macOS, it only writes the id.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Asks for SIGTERM when the parent dies.

    Raises:
        SystemExit: when the parent has died already.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        # It died between the two lines: the signal will never come.
        raise SystemExit(1)


def main(arguments: list[str]) -> None:
    """Never returns."""
    die_with_parent()
    if arguments[0] == "--pid-file":
        path = Path(arguments[1])
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        partial.write_text(f"{os.getpid()}\n", encoding="ascii")
        partial.replace(path)
        arguments = arguments[2:]
    os.execv(arguments[0], arguments)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
