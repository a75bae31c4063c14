"""A thousand streams that watch one running job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from milimo.v1 import jobs_pb2
from rows import Beside, Missing, Row, measured, percentile
from session import Child, Session

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES: Final = ("watchers_1000_p99_ms",)
_STREAMS: Final = 1_000
# From the first stream's opening to the last one's end.
_LIMIT_SECONDS: Final = 60.0


def measure(session: Session) -> Mapping[str, Row]:
    """Once through Envoy, once directly on the storyboard."""
    session.warm_up()
    try:
        through = _watched(session, session.mesh.address)
        direct = _watched(session, session.mesh.addresses["storyboard"])
    except _NotAll as error:
        return {NAMES[0]: Missing(why=str(error))}
    beside = Beside(what="the same directly on the storyboard, without Envoy", value=percentile(direct, 0.99))
    return {NAMES[0]: measured(NAMES[0], through, value=percentile(through, 0.99), beside=beside)}


class _NotAll(RuntimeError):
    """Streams missed something, or took too long."""


def _watched(session: Session, address: str) -> list[float]:
    """Milliseconds of every event on every stream, of the events that came when all streams were open.

    The job waits behind another one until they are: so that they all see the whole of its run.

    Raises:
        _NotAll: when a stream lacks a durable event, or they were not done in time.
    """
    videos, jobs = session.client.videos, session.client.jobs
    first = videos.SubmitVideo(session.video(width=768, height=512, num_frames=121)).job.id
    for event in session.client.watch(first):
        if event.state == jobs_pb2.JOB_STATE_RUNNING:
            break
    job_id = videos.SubmitVideo(session.video(width=256, height=128, num_frames=121)).job.id
    with Child("child_watchers.py", environment={}) as child:
        child.ask({"address": address, "job_id": job_id, "streams": _STREAMS, "seconds": _LIMIT_SECONDS})
        jobs.CancelJob(jobs_pb2.CancelJobRequest(job_id=first))
        answer: dict[str, Any] = child.hear()
    job = session.finish(job_id)
    streams: list[dict[str, Any]] = answer["streams"]
    whole = list(range(1, job.last_sequence + 1))
    lacking = sum(stream["sequences"] != whole for stream in streams)
    if lacking:
        raise _NotAll(
            f"{lacking} of {len(streams)} streams lack durable events after {answer['seconds']:.0f} s "
            f"(at most {_LIMIT_SECONDS:.0f} s were given)"
        )
    return [delay for stream in streams for delay in stream["milliseconds"]]
