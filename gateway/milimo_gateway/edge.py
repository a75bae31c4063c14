"""The edge process: what the gateway answers itself. Reflection for all public services, and the bare routes."""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING, Any

import grpc
from milimo.v1 import compat_pb2
from milimo_runtime.errors import Unimplemented
from milimo_runtime.server import Served, serve

from milimo_gateway.contract import PACKAGE, read_contract
from milimo_gateway.routes import public_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import grpc.aio
    from milimo_runtime.settings import MeshSettings

    from milimo_gateway.contract import Method, Service

COMPAT = f"{PACKAGE}.CompatService"


def load_descriptors(services: Sequence[Service]) -> None:
    """Imports the stubs of the services: reflection describes what has been imported."""
    for service in services:
        importlib.import_module(service.file.removesuffix(".proto").replace("/", ".") + "_pb2")


def _refusal(method: Method) -> grpc.RpcMethodHandler[Any, Any]:
    """Answers a bare route with UNIMPLEMENTED."""

    async def refuse(request: compat_pb2.CompatRequest, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        del request, context
        raise Unimplemented(f"the bare route of {method.name}")

    return grpc.unary_unary_rpc_method_handler(
        refuse, request_deserializer=compat_pb2.CompatRequest.FromString, response_serializer=None
    )


@contextlib.asynccontextmanager
async def edge(server: grpc.aio.Server) -> AsyncIterator[Served]:
    """Adds the edge's services to the server."""
    public = public_services(read_contract())
    load_descriptors(public)
    for service in public:
        if service.name == COMPAT:
            refusals = {method.name: _refusal(method) for method in service.methods}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(COMPAT, refusals),))
    yield Served(services=(COMPAT,), reflected=[service.name for service in public if service.name != COMPAT])


async def run_edge(settings: MeshSettings) -> None:
    """Serves the edge until SIGTERM."""
    await serve(name="edge", address=settings.edge_address, settings=settings, setup=edge)
