"""A client process that calls GetProject as often as it can.

A line {"address", "project_id", "calls_at_a_time", "seconds"} is answered with {"milliseconds": […]}, one for each call
that was begun within that time.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import grpc.aio
from milimo.v1 import projects_pb2, projects_pb2_grpc


async def load(
    stub: projects_pb2_grpc.ProjectServiceAsyncStub, project_id: str, calls: int, seconds: float
) -> list[float]:
    """Milliseconds of each call."""
    request = projects_pb2.GetProjectRequest(project_id=project_id)
    took: list[float] = []
    end = time.monotonic() + seconds

    async def caller() -> None:
        while (begin := time.monotonic()) < end:
            await stub.GetProject(request)
            took.append((time.monotonic() - begin) * 1e3)

    await asyncio.gather(*(caller() for _ in range(calls)))
    return took


async def main() -> None:
    """Answers until its input ends. A channel to an address is kept."""
    channels: dict[str, grpc.aio.Channel] = {}
    while line := await asyncio.to_thread(sys.stdin.readline):
        request = json.loads(line)
        address = request["address"]
        channel = channels.setdefault(address, grpc.aio.insecure_channel(address))
        stub = projects_pb2_grpc.ProjectServiceStub(channel)
        took = await load(stub, request["project_id"], request["calls_at_a_time"], request["seconds"])
        print(json.dumps({"milliseconds": took}), flush=True)
    for channel in channels.values():
        await channel.close()


if __name__ == "__main__":
    asyncio.run(main())
