"""A mesh that runs for as long as a block of code, and whatever happens in it, nothing of it runs afterwards."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

from milimo_deploy.health import wait_until_healthy
from milimo_deploy.mesh import Mesh
from milimo_deploy.supervision import read_pid, start_supervisor, stop_supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

READY_SECONDS: Final = 120.0


class AlreadyRunning(RuntimeError):
    """A mesh runs in this folder already."""


@dataclass(frozen=True, kw_only=True)
class RunningMesh:
    """A mesh whose processes all answered."""

    mesh: Mesh
    supervisor_pid: int

    @property
    def home(self) -> Path:
        """The mesh's folder."""
        return self.mesh.home

    @property
    def address(self) -> str:
        """Where clients connect, "host:port": the gateway."""
        return self.mesh.process("gateway").address

    @property
    def addresses(self) -> dict[str, str]:
        """Where each process answers."""
        return {process.name: process.address for process in self.mesh.processes}

    def pid(self, name: str) -> int:
        """The id that the process has now; another one after it was restarted."""
        pid = read_pid(self.mesh, name)
        if pid is None:
            raise KeyError(name)
        return pid

    def log(self, name: str) -> Path:
        """The file that takes what the process prints."""
        return self.mesh.log(name)

    def wait_until_healthy(self, *, seconds: float = READY_SECONDS) -> None:
        """Returns when every process answers, such as after one was killed. Raises MeshNotReady."""
        wait_until_healthy(self.mesh, is_supervised=lambda: is_alive(self.supervisor_pid), seconds=seconds)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not yet reaped does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def write_description(running: RunningMesh) -> None:
    """Leaves <home>/mesh.json for the commands and for people."""
    mesh = running.mesh
    document = {
        "address": running.addresses.get("gateway", ""),
        "home": str(mesh.home),
        "supervisor_pid": running.supervisor_pid,
        "drain_seconds": mesh.drain_seconds,
        "environment": dict(mesh.environment),
        "processes": {
            process.name: {
                "address": process.address,
                "pid": read_pid(mesh, process.name),
                "pid_file": str(mesh.pid_file(process.name)),
                "log": str(mesh.log(process.name)),
            }
            for process in mesh.processes
        },
    }
    partial = mesh.description.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    partial.replace(mesh.description)


def read_description(home: Path) -> dict[str, Any] | None:
    """What `write_description` left; None when no mesh was started here or it was stopped."""
    try:
        document: dict[str, Any] = json.loads((home / "mesh.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return document


def supervisor_of(home: Path) -> int | None:
    """Id of the supervisor that runs for this folder; None when there is none."""
    document = read_description(home)
    if document is None:
        return None
    config = str(home.resolve() / "run" / "supervisord.conf")
    pid = int(document["supervisor_pid"])
    try:
        # The id alone could have gone to another process since.
        return pid if config in psutil.Process(pid).cmdline() else None
    except psutil.NoSuchProcess:
        return None


def start_mesh(
    mesh: Mesh,
    *,
    detached: bool,
    seconds: float = READY_SECONDS,
    on_ready: Callable[[str, float], None] = lambda name, elapsed: None,
) -> tuple[RunningMesh, subprocess.Popen[bytes]]:
    """Starts all processes at once and waits for them; on failure and interruption nothing is left running.

    Raises:
        AlreadyRunning: when a mesh runs in this folder.
        MeshNotReady: when a process does not come up.
    """
    if (other := supervisor_of(mesh.home)) is not None:
        raise AlreadyRunning(f"a mesh runs in {mesh.home} already, with the supervisor {other}: `milimo down` stops it")
    supervisor = start_supervisor(mesh, detached=detached)
    running = RunningMesh(mesh=mesh, supervisor_pid=supervisor.pid)
    try:
        # Early, so that `milimo down` also stops a mesh that is still starting.
        write_description(running)
        wait_until_healthy(mesh, is_supervised=lambda: supervisor.poll() is None, seconds=seconds, on_ready=on_ready)
        write_description(running)
    except BaseException:
        stop_mesh(running)
        supervisor.wait()
        raise
    return running, supervisor


def stop_mesh(running: RunningMesh) -> list[str]:
    """Stops everything and removes the description. Command lines of processes that had to be killed are returned.

    A second Ctrl-C or SIGTERM while it waits for them kills at once what is left.
    """
    try:
        try:
            killed = stop_supervisor(running.mesh, running.supervisor_pid)
        except (KeyboardInterrupt, SystemExit):
            killed = stop_supervisor(running.mesh, running.supervisor_pid, seconds=0.0)
    finally:
        running.mesh.description.unlink(missing_ok=True)
    return killed


@contextlib.contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """Lets SIGTERM leave the block as SystemExit(143), so that `finally` runs. Outside the main thread: nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def running_mesh(
    mesh: Mesh,
    *,
    seconds: float = READY_SECONDS,
    on_ready: Callable[[str, float], None] = lambda name, elapsed: None,
    on_stop: Callable[[], None] = lambda: None,
) -> Iterator[RunningMesh]:
    """The mesh, up and healthy, for the length of the block; then stopped, also after an error, Ctrl-C or SIGTERM.

    `on_ready` is told each process that answers and the seconds it took; `on_stop` is called before the stopping.

    If this process is killed outright, the supervisor gets SIGTERM from the kernel and stops the mesh (on Linux). For
    the same reason the thread that enters the block must live as long as the block.

    Raises:
        AlreadyRunning: when a mesh runs in this folder.
        MeshNotReady: when a process does not come up within `seconds`.
    """
    with sigterm_as_exit():
        running, supervisor = start_mesh(mesh, detached=False, seconds=seconds, on_ready=on_ready)
        try:
            yield running
        finally:
            try:
                on_stop()
            finally:
                stop_mesh(running)
                supervisor.wait()
