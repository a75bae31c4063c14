"""The supervisor's configuration and the mesh's description, without starting anything."""

from __future__ import annotations

import configparser
import shlex
import socket
import sys
from pathlib import Path

import pytest
from milimo_deploy.health import MeshNotReady, tail
from milimo_deploy.mesh import NAMES, Addresses, free_addresses, plan_mesh
from milimo_deploy.ports import free_ports, is_free
from milimo_deploy.supervision import read_pid, supervisor_config


def parsed(text: str) -> configparser.ConfigParser:
    """The file as supervisor reads it: with comments at the end of lines."""
    parser = configparser.ConfigParser(inline_comment_prefixes=(";", "#"), interpolation=None)
    parser.read_string(text)
    return parser


def test_every_process_is_restarted_and_drained(tmp_path: Path) -> None:
    mesh = plan_mesh(tmp_path, Addresses(), drain_seconds=12)
    config = parsed(supervisor_config(mesh))
    for name in NAMES:
        section = config[f"program:{name}"]
        assert section["autorestart"] == "true"
        assert int(section["startretries"]) > 100_000
        assert section["stopsignal"] == "TERM"
        assert int(section["stopwaitsecs"]) > 12
        assert section["killasgroup"] == "true"
        assert section["redirect_stderr"] == "true"
        assert section["stdout_logfile"] == str(tmp_path / "logs" / f"{name}.log")
        assert int(section["stdout_logfile_maxbytes"]) > 0
        assert int(section["stdout_logfile_backups"]) > 0


def test_each_command_is_wrapped_to_die_with_its_supervisor(tmp_path: Path) -> None:
    mesh = plan_mesh(tmp_path, Addresses())
    config = parsed(supervisor_config(mesh))
    command = shlex.split(config["program:video"]["command"])
    split = command.index("--pid-file")
    assert command[0] == sys.executable
    assert command[split - 1].endswith("exec_child.py")
    assert command[split + 1] == str(tmp_path / "run/video.pid")
    assert command[split + 2 :] == [sys.executable, "-m", "milimo_video"]
    assert shlex.split(config["program:gateway"]["command"])[-3:] == ["-m", "milimo_gateway", "envoy"]


def test_the_arbiter_stops_after_its_holders_and_the_gateway_first(tmp_path: Path) -> None:
    config = parsed(supervisor_config(plan_mesh(tmp_path, Addresses())))
    groups = {name.removeprefix("group:"): config[name] for name in config.sections() if name.startswith("group:")}
    assert groups["memory"]["programs"] == "arbiter"
    assert set(groups["entrance"]["programs"].split(",")) == {"edge", "gateway"}
    priorities = [int(groups[name]["priority"]) for name in ("memory", "work", "entrance")]
    assert priorities == sorted(priorities)
    members = [program for group in groups.values() for program in group["programs"].split(",")]
    assert sorted(members) == sorted(NAMES)


def test_a_percent_sign_in_the_folder_is_no_expansion(tmp_path: Path) -> None:
    home = tmp_path / "100% mine"
    text = supervisor_config(plan_mesh(home, Addresses()))
    escaped = str(home.resolve()).replace("%", "%%")
    assert f"directory={escaped}\n" in text


@pytest.mark.parametrize("name", ["a;b", "a#b"])
def test_a_folder_that_supervisor_cannot_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot read"):
        supervisor_config(plan_mesh(tmp_path / name, Addresses()))


def test_every_process_is_told_where_all_others_are(tmp_path: Path) -> None:
    addresses = free_addresses()
    mesh = plan_mesh(tmp_path, addresses, environment={"MILIMO_ARBITER_BUDGET_BYTES": "1000"})
    assert mesh.environment["MILIMO_HOME"] == str(tmp_path)
    assert mesh.environment["MILIMO_VIDEO_ADDRESS"] == addresses.video
    assert mesh.environment["MILIMO_GATEWAY_LISTEN"] == addresses.gateway
    assert mesh.environment["MILIMO_GATEWAY_ADMIN"] == addresses.gateway_admin
    assert mesh.environment["MILIMO_ARBITER_BUDGET_BYTES"] == "1000"
    assert {process.name: process.address for process in mesh.processes} == {
        name: address for name, address in addresses.named().items() if name != "gateway_admin"
    }


def test_processes_can_be_left_out(tmp_path: Path) -> None:
    mesh = plan_mesh(tmp_path, Addresses(), only=("arbiter", "storyboard"))
    assert [process.name for process in mesh.processes] == ["arbiter", "storyboard"]


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert is_free(f"127.0.0.1:{ports[0]}")


def test_a_port_in_use_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not is_free(f"127.0.0.1:{listener.getsockname()[1]}")


def test_no_process_id_before_the_first_start(tmp_path: Path) -> None:
    assert read_pid(plan_mesh(tmp_path, Addresses()), "video") is None


def test_an_unready_process_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "video.log"
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    error = MeshNotReady("video", "it did not answer within 3 s", log)
    assert str(error).startswith("video is not ready: it did not answer within 3 s")
    assert "line 99" in str(error)
    assert "line 79\n" not in str(error)
    assert tail(tmp_path / "missing.log") == []
