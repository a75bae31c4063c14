"""The bootstrap that every process shares: health, reflection, interceptors, and a graceful drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from milimo_runtime import telemetry
from milimo_runtime.channels import SERVER_OPTIONS
from milimo_runtime.interceptors import CallInterceptor
from milimo_runtime.logs import configure_logs
from milimo_runtime.process_lock import process_lock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from milimo_runtime.settings import MeshSettings, ServiceSettings

log = logging.getLogger(__name__)

# Calls that were cut off have this long to unwind before what they use is closed.
_SETTLE_SECONDS: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Served:
    """What a process serves once it is set up.

    `services` are full names such as "milimo.v1.JobService"; `drain` is awaited first on SIGTERM and returns when no
    work is left that the process wants to finish.
    """

    services: Sequence[str]
    drain: Callable[[], Awaitable[None]] | None = None
    # Services of other processes that reflection describes here too.
    reflected: Sequence[str] = ()


async def serve(
    *,
    name: str,
    address: str,
    settings: MeshSettings,
    setup: Callable[[grpc.aio.Server], AbstractAsyncContextManager[Served]],
) -> None:
    """Serves until SIGTERM or SIGINT, then drains and returns.

    Args:
        name: the process, such as "video".
        address: where to listen, "host:port".
        settings: what all processes share.
        setup: opens what the services need, adds them to the server, and closes everything again afterwards.

    Raises:
        OSError: when the address is in use.
    """
    configure_logs(name, form=settings.log_format, level=settings.log_level)
    close_telemetry = telemetry.configure_telemetry(name, settings.otlp_endpoint)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    calls = CallInterceptor()
    server = grpc.aio.server(options=list(SERVER_OPTIONS), interceptors=[calls])
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    async with setup(server) as served:
        names = (*served.services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection((*names, *served.reflected), server)
        try:
            server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"{name} cannot listen on {address}: is it in use?") from error
        await server.start()
        for service in ("", *served.services):
            await checks.set(service, health_pb2.HealthCheckResponse.SERVING)
        log.info("serving", extra={"action": "serving", "address": address})
        await stop.wait()
        log.info("draining", extra={"action": "draining"})
        await checks.enter_graceful_shutdown()
        if served.drain is not None:
            async with _bounded(settings.drain_seconds):
                await served.drain()
        await server.stop(grace=1.0)
        await calls.settle(_SETTLE_SECONDS)
    await asyncio.to_thread(close_telemetry)
    log.info("stopped", extra={"action": "stopped"})


def run(
    *,
    name: str,
    address: str,
    settings: ServiceSettings,
    setup: Callable[[grpc.aio.Server], AbstractAsyncContextManager[Served]],
) -> int:
    """`serve` as the body of a process, the only one of its name and executor id in the home folder.

    Returns:
        The exit status: 1 when it cannot start, told in one line of the log.
    """
    configure_logs(name, form=settings.log_format, level=settings.log_level)
    try:
        with process_lock(settings.home, f"{name}-{settings.executor_id}"):
            asyncio.run(serve(name=name, address=address, settings=settings, setup=setup))
    except OSError as error:
        log.error("%s cannot start: %s", name, error, extra={"action": "start_failed"})
        return 1
    return 0


@contextlib.asynccontextmanager
async def _bounded(seconds: float) -> AsyncIterator[None]:
    """Gives up waiting after a time, and says so."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        log.warning("drain took too long", extra={"action": "drain_timeout", "seconds": seconds})
