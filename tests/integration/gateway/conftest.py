"""One gateway for the tests of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


from .mesh import Mesh, mesh


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    home = tmp_path_factory.mktemp("gateway")
    folder = home / "media/projects/p1/generated"
    folder.mkdir(parents=True)
    (folder / "film.mp4").write_bytes(bytes(range(256)) * 100)
    (home / "media/secret.txt").write_text("secret")
    with mesh(home) as (running, _):
        yield running


@pytest.fixture
def client(gateway: Mesh) -> Iterator[httpx.Client]:
    with gateway.client() as opened:
        yield opened
