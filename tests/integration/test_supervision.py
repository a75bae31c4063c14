"""A real supervisord with small real children: restart, drain, and nothing left behind however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from milimo_deploy import exec_child
from milimo_deploy.health import MeshNotReady
from milimo_deploy.mesh import Mesh, Process
from milimo_deploy.ports import free_ports
from milimo_deploy.running import (
    AlreadyRunning,
    is_alive,
    read_description,
    running_mesh,
    start_mesh,
    stop_mesh,
    supervisor_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# Answers /healthz; on SIGTERM it says goodbye in a file, as a service drains.
CHILD = """
import http.server, pathlib, signal, sys
address, home = sys.argv[1], pathlib.Path(sys.argv[2])

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

def leave(number, frame):
    (home / f"drained-{address.replace(':', '-')}").touch()
    raise SystemExit(0)

signal.signal(signal.SIGTERM, leave)
host, port = address.split(":")
http.server.HTTPServer.allow_reuse_address = True
print("serving", flush=True)
http.server.HTTPServer((host, int(port)), Handler).serve_forever()
"""
STUBBORN = CHILD.replace("signal.signal(signal.SIGTERM, leave)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
BROKEN = "print('no such model'); raise SystemExit(3)"


def mesh_of(home: Path, *scripts: str, drain_seconds: float = 5.0) -> Mesh:
    """A mesh whose processes run these scripts."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(len(scripts))]
    for number, script in enumerate(scripts):
        (home / f"child{number}.py").write_text(script)
    processes = tuple(
        Process(
            name=f"child{number}" if number else "gateway",
            arguments=(str(home / f"child{number}.py"), address, str(home)),
            address=address,
            stage="work",
            health="http",
        )
        for number, address in enumerate(addresses)
    )
    return Mesh(home=home, processes=processes, environment={"MILIMO_HOME": str(home)}, drain_seconds=drain_seconds)


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Returns when the condition holds; fails when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_killed_process_comes_back_and_stopping_leaves_none(tmp_path: Path) -> None:
    mesh = mesh_of(tmp_path, CHILD, CHILD)
    with running_mesh(mesh) as running:
        pids = [running.pid("gateway"), running.pid("child1")]
        assert read_description(tmp_path)["processes"]["child1"]["pid"] == pids[1]  # type: ignore[index]
        os.kill(pids[1], signal.SIGKILL)
        killed_at = time.monotonic()
        until(lambda: running.pid("child1") != pids[1])
        assert time.monotonic() - killed_at < 5
        running.wait_until_healthy(seconds=10)
        assert running.pid("gateway") == pids[0]
        last = [running.supervisor_pid, pids[0], running.pid("child1")]
    assert not any(map(is_alive, last))
    assert len(list(tmp_path.glob("drained-*"))) == 2
    assert read_description(tmp_path) is None
    assert "serving" in mesh.log("child1").read_text()


def test_an_error_in_the_block_stops_the_mesh(tmp_path: Path) -> None:
    pids: list[int] = []

    def fail() -> None:
        with running_mesh(mesh_of(tmp_path, CHILD)) as running:
            pids.extend([running.supervisor_pid, running.pid("gateway")])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert len(pids) == 2
    assert not any(map(is_alive, pids))


def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with running_mesh(mesh_of(tmp_path, CHILD, CHILD)) as running:
        pids = [running.pid("gateway"), running.pid("child1")]
        os.kill(running.supervisor_pid, signal.SIGKILL)
        until(lambda: not any(map(is_alive, pids)))
    assert len(list(tmp_path.glob("drained-*"))) == 2


def test_a_process_that_does_not_end_is_killed(tmp_path: Path) -> None:
    running, supervisor = start_mesh(mesh_of(tmp_path, STUBBORN, drain_seconds=0.0), detached=False)
    pid = running.pid("gateway")
    stop_mesh(running)
    supervisor.wait()
    assert not is_alive(pid)


def test_a_process_that_cannot_start_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    mesh = mesh_of(tmp_path, CHILD, BROKEN)
    with pytest.raises(MeshNotReady, match=r"child1 is not ready: it ended [\s\S]*no such model"):
        start_mesh(mesh, detached=False)
    assert supervisor_of(tmp_path) is None
    assert not (tmp_path / "mesh.json").exists()
    assert not is_alive(int(mesh.pid_file("gateway").read_text()))


def test_one_mesh_for_one_folder(tmp_path: Path) -> None:
    with running_mesh(mesh_of(tmp_path, CHILD)) as running:
        assert supervisor_of(tmp_path) == running.supervisor_pid
        with pytest.raises(AlreadyRunning, match="milimo down"):
            start_mesh(mesh_of(tmp_path, CHILD), detached=False)
        assert is_alive(running.supervisor_pid)
    assert supervisor_of(tmp_path) is None


def program_with_a_mesh(folder: Path, script: str, drain_seconds: float) -> subprocess.Popen[str]:
    """A program that starts a mesh of one child, prints the supervisor's and the child's id, and waits."""
    program = textwrap.dedent("""
        import signal, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        import supervision_programs
        from milimo_deploy.running import running_mesh
        script = getattr(supervision_programs, sys.argv[2])
        mesh = supervision_programs.mesh_of(Path(sys.argv[1]), script, drain_seconds=float(sys.argv[3]))
        with running_mesh(mesh) as running:
            print(running.supervisor_pid, running.pid("gateway"), flush=True)
            signal.pause()
    """)
    # The program reads this file under another name: pytest's own import of it is not for other processes.
    (folder / "supervision_programs.py").write_text(Path(__file__).read_text())
    command = [sys.executable, "-c", program, str(folder), script, str(drain_seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.parametrize("is_alive_still", [True, False], ids=["alive", "dead"])
def test_a_child_whose_parent_died_before_it_could_ask_ends_at_once(is_alive_still: bool, tmp_path: Path) -> None:
    """The wrapper cannot ask for a signal that was already due: it has to see that its parent is another one."""
    parent = os.getpid() if is_alive_still else free_pid()
    command = [
        sys.executable,
        exec_child.__file__,
        sys.executable,
        "-c",
        "import os; print(os.environ['MILIMO_PARENT_PID'])",
    ]
    environment = {**os.environ, exec_child.PARENT: str(parent)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        out, _ = child.communicate(timeout=20)
    assert (child.returncode, out) == ((0, f"{child.pid}\n") if is_alive_still else (1, ""))


def free_pid() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    return ended.pid


def kill_all(pids: list[int]) -> None:
    """Leaves nothing behind, also when a test failed."""
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()


def test_a_second_signal_kills_what_does_not_end(tmp_path: Path) -> None:
    with program_with_a_mesh(tmp_path, "STUBBORN", drain_seconds=60.0) as process:
        assert process.stdout is not None
        pids = [int(text) for text in process.stdout.readline().split()]
        try:
            process.send_signal(signal.SIGTERM)
            log = tmp_path / "logs/supervisord.log"
            until(lambda: "SIGTERM indicating exit request" in log.read_text())
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)
            assert not any(map(is_alive, pids))
        finally:
            kill_all([process.pid, *pids])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_the_mesh_ends_with_the_program_that_started_it(tmp_path: Path, number: signal.Signals) -> None:
    with program_with_a_mesh(tmp_path, "CHILD", drain_seconds=5.0) as process:
        assert process.stdout is not None
        pids = [int(text) for text in process.stdout.readline().split()]
        try:
            assert len(pids) == 2
            assert all(map(is_alive, pids))
            process.send_signal(number)
            process.wait(timeout=30)
            until(lambda: not any(map(is_alive, pids)))
        finally:
            kill_all([process.pid, *pids])
    assert len(list(tmp_path.glob("drained-*"))) == 1
