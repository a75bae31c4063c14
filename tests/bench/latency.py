"""From the acceptance of a job to its run, on an idle mesh with warm weights."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Final

from milimo.v1 import jobs_pb2
from milimo.v1.video_pb2 import GenerateVideoRequest
from rows import Beside, Row, measured
from session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES: Final = ("accepted_to_running_ms",)
_JOBS: Final = 20


def measure(session: Session) -> Mapping[str, Row]:
    """One job after the other; each has ended before the next one is asked for."""
    session.warm_up()
    inside: list[float] = []
    seen: list[float] = []
    for _ in range(_JOBS):
        request = session.video()
        accepted = running = None
        begin = time.monotonic()
        stream = session.client.videos.GenerateVideo(
            GenerateVideoRequest(project_id=request.project_id, video=request.video, request_id=request.request_id)
        )
        for event in stream:
            if event.HasField("accepted"):
                accepted = event.time.ToNanoseconds()
            elif event.durable and event.state == jobs_pb2.JOB_STATE_RUNNING and running is None:
                running = event.time.ToNanoseconds()
                seen.append((time.monotonic() - begin) * 1e3)
        if accepted is None or running is None:
            raise RuntimeError("a job ended without having run")
        inside.append((running - accepted) / 1e6)
    what = f"as the client sees it, from its request to the event RUNNING, at most {max(seen):.1f} ms"
    return {NAMES[0]: measured(NAMES[0], inside, beside=Beside(what=what, value=median(seen)))}
