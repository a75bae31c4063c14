"""Whether the processes behind a gateway answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from milimo.errors import MilimoError
from milimo.v1 import arbiter_pb2, image_pb2, jobs_pb2, segmentation_pb2, video_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from milimo.client import Milimo

# A process that is away should not make the answer slow.
PROBE_SECONDS: Final = 5.0
_AWAY: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What one process of the mesh answered; `text` says why it did not."""

    process: str
    answers: bool
    text: str


def _probe(process: str, call: Callable[[], object]) -> Probe:
    """Any answer will do: a process that refuses an empty request is alive."""
    try:
        call()
    except MilimoError as error:
        if error.code in _AWAY:
            return Probe(process=process, answers=False, text=" ".join(error.message.split()))
    return Probe(process=process, answers=True, text="answers")


def probe_processes(client: Milimo, *, seconds: float = PROBE_SECONDS) -> list[Probe]:
    """Asks each process that serves, through the gateway, one after the other. Changes nothing."""
    calls: dict[str, Callable[[], object]] = {
        "arbiter": lambda: client.gpu.GetStatus(arbiter_pb2.GetStatusRequest(), timeout=seconds),
        "storyboard": lambda: client.jobs.ListJobs(jobs_pb2.ListJobsRequest(page_size=1), timeout=seconds),
        "video": lambda: client.videos.PlanVideo(video_pb2.PlanVideoRequest(), timeout=seconds),
        "image": lambda: client.images.SubmitImage(image_pb2.SubmitImageRequest(), timeout=seconds),
        "segmentation": lambda: client.segmentation.PredictMask(segmentation_pb2.PredictMaskRequest(), timeout=seconds),
    }
    return [_probe(process, call) for process, call in calls.items()]
