"""The least that a grpcio asyncio server can be: one method that always answers the same, and health.

python child_bare_server.py HOST:PORT

Prints a line when it serves; ends with its input.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from milimo.v1 import projects_pb2


async def get_project(
    request: projects_pb2.GetProjectRequest, context: grpc.aio.ServicerContext[Any, Any]
) -> projects_pb2.GetProjectResponse:
    """Answers what the storyboard would, without looking anywhere."""
    project = projects_pb2.Project(id=request.project_id, name="benchmark", resolution_w=768, resolution_h=512, fps=25)
    return projects_pb2.GetProjectResponse(project=project)


async def main(address: str) -> None:
    """Serves until the input ends."""
    server = grpc.aio.server()
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    method = grpc.unary_unary_rpc_method_handler(
        get_project,
        request_deserializer=projects_pb2.GetProjectRequest.FromString,
        response_serializer=projects_pb2.GetProjectResponse.SerializeToString,
    )
    handlers = grpc.method_handlers_generic_handler("milimo.v1.ProjectService", {"GetProject": method})
    server.add_generic_rpc_handlers((handlers,))
    server.add_insecure_port(address)
    await server.start()
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    print("true", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(grace=None)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
