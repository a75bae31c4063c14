"""What counts as an address, and where the local mesh is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from milimo import Milimo
from milimo.endpoint import DEFAULT_ADDRESS, local_address, parse_address

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("address", "target", "tls"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8080", False),
        ("studio", "studio:8080", False),
        ("studio:9000", "studio:9000", False),
        ("http://studio:9000/", "studio:9000", False),
        ("https://studio", "studio:443", True),
        ("https://studio:8443", "studio:8443", True),
        ("[::1]", "[::1]:8080", False),
        ("[::1]:9000", "[::1]:9000", False),
    ],
)
def test_addresses(address: str, target: str, tls: bool) -> None:
    endpoint = parse_address(address, api_key="k")
    assert (endpoint.target, endpoint.tls) == (target, tls)
    assert endpoint.metadata == (("authorization", "Bearer k"),)


@pytest.mark.parametrize("address", ["", "ftp://studio", "http://", "studio/path", "studio:port", "http://studio/v1"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match=r"address|port"):
        Milimo(address)


def test_without_a_key_nothing_is_sent() -> None:
    assert parse_address("studio").metadata == ()


def test_the_running_mesh_of_this_machine(tmp_path: Path) -> None:
    environment = {"MILIMO_HOME": str(tmp_path)}
    assert local_address(environment) == DEFAULT_ADDRESS
    (tmp_path / "mesh.json").write_text(json.dumps({"address": "127.0.0.1:4321"}))
    assert local_address(environment) == "127.0.0.1:4321"
    (tmp_path / "milimo").mkdir()
    (tmp_path / "milimo/mesh.json").write_text(json.dumps({"address": "127.0.0.1:1234"}))
    assert local_address({"XDG_DATA_HOME": str(tmp_path)}) == "127.0.0.1:1234"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"address": 5}', '{"address": ""}'])
def test_a_damaged_description_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "mesh.json").write_text(text)
    assert local_address({"MILIMO_HOME": str(tmp_path)}) == DEFAULT_ADDRESS
