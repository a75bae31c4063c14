"""A small real gRPC server that plays the gateway, and the `milimo` command that calls it."""

from __future__ import annotations

from concurrent import futures
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from typer.testing import CliRunner

from .servicers import SERVICES
from .studio import Studio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def studio() -> Studio:
    """What the server knows; empty."""
    return Studio()


@pytest.fixture
def address(studio: Studio) -> Iterator[str]:
    """Where the server answers."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=(("grpc.so_reuseport", 0),))
    for add, servicer in SERVICES:
        add(servicer(studio), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(grace=None).wait()


@pytest.fixture
def milimo(address: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs the command against the server, in an empty folder."""
    from milimo.cli import build_app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILIMO_ADDRESS", address)
    monkeypatch.setenv("MILIMO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MILIMO_PROJECT", raising=False)
    app = build_app()

    def run(*arguments: object, input: str | None = None) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=input)

    return run
