"""Names a process beyond the reuse of its id: when it started, and in which pid namespace."""

from __future__ import annotations

from functools import cache
from pathlib import Path


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot: field 22 of /proc/PID/stat (proc(5)).

    None when there is no such process, or it has ended and only waits to be reaped. Where the platform has no /proc the
    number is in hundredths of a second since 1970; it is compared only with others of the same machine.
    """
    if not _has_proc():
        return _start_elsewhere(pid)
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold anything; what follows it does not.
    fields = text[text.rindex(b")") + 2 :].split()
    return None if fields[0] in b"ZX" else int(fields[19])


@cache
def _has_proc() -> bool:
    return Path("/proc/self/stat").exists()


def _start_elsewhere(pid: int) -> int | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time() * 100)
    except psutil.NoSuchProcess:
        return None


@cache
def pid_namespace() -> int:
    """The inode of this process's pid namespace; 0 where the platform has none."""
    path = Path("/proc/self/ns/pid")
    return path.stat().st_ino if path.exists() else 0
