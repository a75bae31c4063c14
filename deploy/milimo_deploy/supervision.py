"""supervisord for a mesh: its configuration, starting it, and stopping it with everything that it started."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from milimo_deploy import exec_child
from milimo_deploy.mesh import Mesh, Process, inherited_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

LOG_BYTES: Final = 10 * 1024 * 1024
LOG_BACKUPS: Final = 3
# A process that cannot start is tried again for as long as the mesh is up, after pauses that grow by a second each.
START_RETRIES: Final = 1_000_000
# Beyond the drain: to write what is left and to end.
STOP_MARGIN_S: Final = 10.0
# supervisord stops groups of higher priority first.
_PRIORITY: Final = {"memory": 10, "work": 20, "entrance": 30}
# What supervisor's parser takes for a comment, or for the end of a line.
_UNSAFE: Final = frozenset(";#\n\r")


def _python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def _wrapped(options: Sequence[str], command: Sequence[str]) -> list[str]:
    """The command, started by exec_child. -I and -S: the wrapper needs no packages and should be quick."""
    return [*_python("-I", "-S", str(Path(exec_child.__file__))), *options, *command]


def child_command(mesh: Mesh, process: Process) -> list[str]:
    """What supervisord runs for a process."""
    return _wrapped(["--pid-file", str(mesh.pid_file(process.name))], _python(*process.arguments))


def supervisor_config(mesh: Mesh) -> str:
    """supervisord.conf: restart after any end, drain on stop, logs in files that rotate.

    Raises:
        ValueError: when the home folder's name cannot stand in such a file.
    """
    if _UNSAFE & set(str(mesh.home)):
        raise ValueError(f"the folder {mesh.home} has a character in its name that supervisord cannot read: ; or #")
    lines = [
        "[supervisord]",
        f"logfile={mesh.log('supervisord')}",
        f"logfile_maxbytes={LOG_BYTES}",
        f"logfile_backups={LOG_BACKUPS}",
        f"pidfile={mesh.run_dir / 'supervisord.pid'}",
        f"directory={mesh.home}",
        "nodaemon=true",
        # It writes to its log; what it starts writes to theirs.
        "silent=true",
        "identifier=milimo",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # Else it warns that it did not drop its privileges.
        lines.append("user=root")
    for process in mesh.processes:
        lines += [
            "",
            f"[program:{process.name}]",
            f"command={shlex.join(child_command(mesh, process))}",
            f"directory={mesh.home}",
            "autostart=true",
            "autorestart=true",
            "startsecs=1",
            f"startretries={START_RETRIES}",
            "stopsignal=TERM",
            f"stopwaitsecs={int(mesh.drain_seconds + STOP_MARGIN_S / 2)}",
            "killasgroup=true",
            "redirect_stderr=true",
            f"stdout_logfile={mesh.log(process.name)}",
            f"stdout_logfile_maxbytes={LOG_BYTES}",
            f"stdout_logfile_backups={LOG_BACKUPS}",
        ]
    by_stage = sorted(mesh.processes, key=lambda process: _PRIORITY[process.stage])
    for stage, members in groupby(by_stage, key=lambda process: process.stage):
        names = ",".join(process.name for process in members)
        # One group stops at once; groups stop one after the other.
        lines += ["", f"[group:{stage}]", f"programs={names}", f"priority={_PRIORITY[stage]}"]
    # "%" begins an expansion in such files.
    return "\n".join(line.replace("%", "%%") for line in lines) + "\n"


def start_supervisor(mesh: Mesh, *, detached: bool = False) -> subprocess.Popen[bytes]:
    """Writes the configuration and starts supervisord, which starts everything else at once.

    Unless `detached`, it stops the mesh when the calling thread's process dies, however that dies.

    Raises:
        ValueError: see supervisor_config.
        OSError: when the home folder cannot be written.
    """
    mesh.run_dir.mkdir(parents=True, exist_ok=True)
    mesh.log_dir.mkdir(parents=True, exist_ok=True)
    for process in mesh.processes:
        mesh.pid_file(process.name).unlink(missing_ok=True)
    mesh.supervisor_config.write_text(supervisor_config(mesh), encoding="utf-8")
    command = _python("-m", "supervisor.supervisord", "-n", "-c", str(mesh.supervisor_config))
    with mesh.log("supervisord-output").open("ab") as out:
        return subprocess.Popen(  # noqa: S603
            _wrapped(["--detached"] if detached else [], command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**inherited_environment(mesh), exec_child.PARENT: str(os.getpid())},
            # Ctrl-C in the terminal is for the command that waits, which then stops this in good order.
            start_new_session=True,
        )


def read_pid(mesh: Mesh, name: str) -> int | None:
    """The process's id as it wrote it at its latest start; None before the first one."""
    try:
        return int(mesh.pid_file(name).read_text(encoding="ascii"))
    except FileNotFoundError:
        return None


def survivors(mesh: Mesh) -> list[psutil.Process]:
    """Processes of the mesh that are alive, told from others that got their ids by the home folder they were given."""
    found = []
    for process in mesh.processes:
        pid = read_pid(mesh, process.name)
        try:
            if pid is not None and psutil.Process(pid).environ().get("MILIMO_HOME") == mesh.environment["MILIMO_HOME"]:
                found.append(psutil.Process(pid))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def stop_supervisor(mesh: Mesh, pid: int | None, *, seconds: float | None = None) -> list[str]:
    """Stops supervisord and everything that it started; returns only when nothing is left.

    `pid` is supervisord's; None when it is gone, and only processes may be left that it started. Whoever has not ended
    after `seconds` (default: the drain and some) is killed; their command lines are returned.
    """
    family: list[psutil.Process] = []
    if pid is not None:
        try:
            supervisor = psutil.Process(pid)
            family = [supervisor, *supervisor.children(recursive=True)]
            supervisor.terminate()
        except psutil.NoSuchProcess:
            # Its children got SIGTERM from the kernel when it died.
            family = []
    family += [process for process in survivors(mesh) if process not in family]
    if seconds is None:
        seconds = mesh.drain_seconds * 2 + STOP_MARGIN_S
    _, left = psutil.wait_procs(family, timeout=seconds)
    killed = []
    for process in left:
        try:
            killed.append(" ".join(process.cmdline()))
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=STOP_MARGIN_S)
    return killed
