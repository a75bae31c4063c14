"""A client process that watches one job over many streams.

A line {"address", "job_id", "streams", "seconds"} is answered twice: with {"open"} when every stream has its first
event, and when all have ended, or that many seconds after the first one was opened, with {"seconds", "streams": one
{"sequences", "milliseconds"} each}: the sequences of the durable events in the order in which they came, and of every
event that was made after all streams were open, the time from there to its receipt.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import grpc.aio
from milimo.v1 import jobs_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHANNELS: Final = 4


def _channel(address: str) -> grpc.aio.Channel:
    # A connection of its own: channels to one address would share one.
    return grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])


async def watch(address: str, job_id: str, streams: int, seconds: float) -> dict[str, Any]:
    """Follows all streams to their ends."""
    request = jobs_pb2.WatchJobRequest(job_id=job_id)
    # Events are kept as they come and read when it is over: the clock is on the servers, not on this reader.
    received: list[list[tuple[int, bytes]]] = [[] for _ in range(streams)]
    opened = asyncio.Event()
    waiting = streams
    begin = time.monotonic()

    async def follow(channel: grpc.aio.Channel, into: list[tuple[int, bytes]]) -> None:
        nonlocal waiting
        call: Any = channel.unary_stream(
            "/milimo.v1.JobService/WatchJob", request_serializer=jobs_pb2.WatchJobRequest.SerializeToString
        )(request)
        async for data in call:
            into.append((time.time_ns(), data))
            if len(into) == 1:
                waiting -= 1
                if not waiting:
                    opened.set()

    async with contextlib.AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(_channel(address)) for _ in range(_CHANNELS)]
        tasks = [asyncio.create_task(follow(channels[n % _CHANNELS], into)) for n, into in enumerate(received)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await opened.wait()
        since = time.time_ns()
        print(json.dumps({"open": streams - waiting}), flush=True)
        await asyncio.wait(tasks, timeout=max(0.0, seconds - (time.monotonic() - begin)))
        took = time.monotonic() - begin
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {"seconds": took, "streams": [_seen(one, since) for one in received]}


def _seen(received: Sequence[tuple[int, bytes]], since: int) -> dict[str, Any]:
    events = [(at, jobs_pb2.JobEvent.FromString(data)) for at, data in received]
    return {
        "sequences": [event.sequence for _, event in events if event.durable],
        "milliseconds": [
            (at - event.time.ToNanoseconds()) / 1e6 for at, event in events if event.time.ToNanoseconds() > since
        ],
    }


async def main() -> None:
    """Answers until its input ends."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await watch(**json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
