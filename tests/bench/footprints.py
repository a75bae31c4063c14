"""Memory of each process after mixed work, and what the mesh costs when nobody asks for anything."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
from milimo.v1 import common_pb2, image_pb2, segmentation_pb2
from rows import Row, measured
from session import PROMPT, Session, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES: Final = (
    "rss_arbiter_mb",
    "rss_storyboard_mb",
    "rss_video_mb",
    "rss_image_mb",
    "rss_segmentation_mb",
    "rss_edge_mb",
    "rss_gateway_mb",
    "rss_envoy_mb",
    "rss_supervisor_mb",
    "idle_cpu_share",
)
_SIDE: Final = 256
_IDLE_SECONDS: Final = 20.0


def measure(session: Session) -> Mapping[str, Row]:
    """First the mixed work, then nothing."""
    mixed_work(session)
    rows: dict[str, Row] = {}
    for name, process in processes(session).items():
        figure = f"rss_{name}_mb"
        rows[figure] = measured(figure, [peak_bytes(process) / 1e6])
    rows["idle_cpu_share"] = measured("idle_cpu_share", [idle_share(session)])
    return rows


def mixed_work(session: Session) -> None:
    """A video, an image, a click on it."""
    client = session.client
    session.finish(client.videos.SubmitVideo(session.video(width=256, height=128, num_frames=49)).job.id)
    image = image_pb2.ImageParameters(prompt=PROMPT, width=_SIDE, height=_SIDE, seed=1)
    request = image_pb2.SubmitImageRequest(project_id=session.project_id, image=image, request_id=str(uuid.uuid4()))
    asset = session.finish(client.images.SubmitImage(request).job.id).assets[0]
    middle = common_pb2.Point(x=_SIDE / 2, y=_SIDE / 2)
    client.segmentation.PredictMask(
        segmentation_pb2.PredictMaskRequest(image=common_pb2.ImageSource(asset_id=asset.id), points=[middle])
    )


def processes(session: Session) -> dict[str, psutil.Process]:
    """The mesh's processes by name: its own, Envoy below its launcher, and the supervisor above all."""
    mesh = session.mesh
    found = {process.name: psutil.Process(mesh.pid(process.name)) for process in mesh.mesh.processes}
    (envoy,) = found["gateway"].children()
    return {**found, "envoy": envoy, "supervisor": psutil.Process(mesh.supervisor_pid)}


def peak_bytes(process: psutil.Process) -> int:
    """The most memory that was resident at any time. Raises Unavailable where the system does not keep it."""
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    raise Unavailable("the system does not tell a process's peak memory")


def idle_share(session: Session) -> float:
    """CPU seconds of all processes per second, over a while in which nobody calls."""
    watched = list(processes(session).values())
    begin, before = time.monotonic(), sum(map(_cpu_seconds, watched))
    time.sleep(_IDLE_SECONDS)
    return (sum(map(_cpu_seconds, watched)) - before) / (time.monotonic() - begin)


def _cpu_seconds(process: psutil.Process) -> float:
    """To the nanosecond where the system tells it: its ticks are longer than what an idle process does at a time."""
    threads = list(Path(f"/proc/{process.pid}/task").glob("*/schedstat"))
    if threads:
        return sum(int(thread.read_text(encoding="ascii").split()[0]) for thread in threads) / 1e9
    times = process.cpu_times()
    return float(times.user + times.system)
