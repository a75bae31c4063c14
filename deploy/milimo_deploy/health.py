"""Waiting until every process of a mesh answers, and saying which one does not and what it printed."""

from __future__ import annotations

import http.client
import time
from typing import TYPE_CHECKING, Final

import grpc
from grpc_health.v1 import health_pb2
from milimo.client import Milimo
from milimo.probes import probe_processes

from milimo_deploy.supervision import read_pid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from milimo_deploy.mesh import Mesh, Process

CHECK_SECONDS: Final = 0.5
PAUSE_SECONDS: Final = 0.05
TAIL_LINES: Final = 20
# A process that ended so often while the mesh started will not come up by waiting.
STARTS: Final = 4


class MeshNotReady(RuntimeError):
    """A process of the mesh did not come up. The message says which and quotes the end of its log."""

    def __init__(self, process: str, reason: str, log: Path) -> None:
        lines = tail(log)
        quoted = "\n".join(f"  | {line}" for line in lines) if lines else "  | (it printed nothing)"
        super().__init__(f"{process} is not ready: {reason}. The end of {log}:\n{quoted}")
        self.process = process
        self.log = log


def tail(log: Path, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a log; none when there is no such file."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 64 * 1024))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []


def answers(process: Process) -> bool:
    """Whether the process says that it serves."""
    if process.health == "http":
        host, _, port = process.address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=CHECK_SECONDS)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
    # A channel of its own each time: a channel that failed once waits before it tries again.
    with grpc.insecure_channel(process.address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(health_pb2.HealthCheckRequest(), timeout=CHECK_SECONDS)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def unreachable(gateway: str) -> list[str]:
    """Processes that do not answer through the gateway."""
    with Milimo(gateway) as client:
        return [probe.process for probe in probe_processes(client) if not probe.answers]


def wait_until_healthy(
    mesh: Mesh,
    *,
    is_supervised: Callable[[], bool],
    seconds: float,
    on_ready: Callable[[str, float], None] = lambda name, elapsed: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Returns when every process answers. `on_ready` is told each one's name and the seconds it took.

    Raises:
        MeshNotReady: when one does not in time, when it keeps ending, or when the supervisor itself has ended.
    """
    begin = clock()
    waiting = {process.name: process for process in mesh.processes}
    seen: dict[str, set[int]] = {name: set() for name in waiting}
    while waiting:
        for name, process in list(waiting.items()):
            pid = read_pid(mesh, name)
            if pid is not None:
                seen[name].add(pid)
            if answers(process):
                del waiting[name]
                on_ready(name, clock() - begin)
            elif len(seen[name]) >= STARTS:
                raise MeshNotReady(name, f"it ended {STARTS - 1} times while it started", mesh.log(name))
        if not is_supervised():
            raise MeshNotReady("supervisord", "it ended", mesh.log("supervisord-output"))
        if waiting and clock() - begin > seconds:
            first = next(iter(waiting))
            others = ", ".join(list(waiting)[1:])
            reason = f"it did not answer within {seconds:g} s" + (f" (nor did {others})" if others else "")
            raise MeshNotReady(first, reason, mesh.log(first))
        if waiting:
            sleep(PAUSE_SECONDS)
    # Envoy has a view of its own of the processes behind it, which follows after a moment.
    while mesh.is_complete and (away := unreachable(mesh.process("gateway").address)):
        if clock() - begin > seconds:
            raise MeshNotReady("gateway", f"it does not reach {', '.join(away)}", mesh.log("gateway"))
        sleep(PAUSE_SECONDS)
