"""`milimo up`, `down`, `doctor` and `models …` as far as they need no mesh, and the demo's arithmetic."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from milimo.cli import build_app
from milimo_arbiter.devices import SMALL_BUDGET
from milimo_deploy import small_models
from milimo_deploy.commands import register
from milimo_deploy.mesh import Addresses, plan_mesh
from milimo_deploy.running import RunningMesh, write_description
from milimo_runtime.registry import ModelFootprint, write_manifest
from milimo_tiny.family import MODELS
from typer.testing import CliRunner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1024**2


@pytest.fixture
def milimo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs the command with its home in an empty folder and nothing else configured."""
    monkeypatch.setenv("MILIMO_HOME", str(tmp_path / "home"))
    for name in ("MILIMO_MODELS_DIR", "MILIMO_MODEL_FAMILY", "MILIMO_DATABASE_URL", "MILIMO_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MILIMO_ARBITER_DEVICE", "cpu")
    monkeypatch.setenv("MILIMO_MODEL_FAMILY", "tiny")
    app = build_app([register])

    def run(*arguments: object) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


def install(models_dir: Path, name: str, purpose: str, mebibytes: int, family: str = "tiny", **other: int) -> Path:
    """A model of one small file, with footprints of so many MiB."""
    root = models_dir / family / name
    root.mkdir(parents=True, exist_ok=True)
    (root / "weights.safetensors").write_bytes(b"weights")
    manifest = {
        "name": name,
        "family": family,
        "purpose": purpose,
        "checkpoint": "distilled",
        "license": "Apache-2.0",
        "note": "",
        "advice": "write it again",
    }
    sizes = {"float32": mebibytes, **other}
    footprints = [ModelFootprint(name=name, bytes=size * MIB) for name, size in sizes.items() if size]
    write_manifest(root, manifest, footprints=footprints)
    return root


def install_all(models_dir: Path) -> Path:
    install(models_dir, "flux-2", "image", 256)
    install(models_dir, "sam-3", "segmentation", 128)
    return install(models_dir, "ltx-2", "video", 384)


def test_doctor_tells_the_settings_in_force(milimo: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILIMO_DATABASE_URL", "postgresql://user:secret@host/milimo")
    done = milimo("doctor", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    settings = {setting["name"]: setting for setting in document["settings"]}
    assert settings["MILIMO_HOME"]["is_set"]
    assert settings["MILIMO_DRAIN_SECONDS"] == {"name": "MILIMO_DRAIN_SECONDS", "value": "20.0", "is_set": False}
    assert settings["MILIMO_DATABASE_URL"]["value"] == "postgresql://user:***@host/milimo"
    assert "secret" not in done.output
    assert {finding["topic"] for finding in document["findings"]} >= {
        "torch",
        "envoy",
        "home",
        "port of video",
        "models",
    }


def test_doctor_looks_at_the_folder_that_is_named(milimo: Callable[..., Any], tmp_path: Path) -> None:
    install_all(tmp_path / "other/models")
    document = json.loads(milimo("doctor", "--plan", "--home", tmp_path / "other", "--json").stdout)
    settings = {setting["name"]: setting["value"] for setting in document["settings"]}
    assert settings["MILIMO_HOME"] == str(tmp_path / "other")
    topics = {finding["topic"]: finding["text"] for finding in document["findings"]}
    assert "model tiny/ltx-2" in topics
    assert topics["home"].startswith(str(tmp_path / "other"))
    assert {fit["model"] for fit in document["plan"]} == {"flux-2", "sam-3", "ltx-2"}


def test_doctor_tells_where_the_running_mesh_answers(milimo: Callable[..., Any], tmp_path: Path) -> None:
    home = tmp_path / "other"
    mesh = plan_mesh(home, Addresses(gateway="127.0.0.1:4711", video="127.0.0.1:4712"))
    home.mkdir()

    def facts() -> tuple[dict[str, str], dict[str, str]]:
        document = json.loads(milimo("doctor", "--home", home, "--json").stdout)
        settings = {setting["name"]: setting["value"] for setting in document["settings"]}
        return settings, {finding["topic"]: finding["text"] for finding in document["findings"]}

    # In the place of supervisord: a process of its command line, that ends with its input.
    command = [sys.executable, "-c", "input()", str(mesh.supervisor_config)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as supervisor:
        write_description(RunningMesh(mesh=mesh, supervisor_pid=supervisor.pid))
        settings, topics = facts()
        supervisor.communicate()
    assert settings["MILIMO_GATEWAY_LISTEN"] == "127.0.0.1:4711"
    assert settings["MILIMO_VIDEO_ADDRESS"] == "127.0.0.1:4712"
    assert topics["mesh"] == "runs already; clients connect to 127.0.0.1:4711"
    assert "port of gateway" not in topics
    # What a mesh that was killed has left behind tells nothing.
    settings, topics = facts()
    assert settings["MILIMO_GATEWAY_LISTEN"] == "127.0.0.1:8080"
    assert "mesh" not in topics


def test_doctor_plans_the_memory(milimo: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_all(tmp_path / "home/models")
    cases = {
        300: "ltx-2 cannot run: every grade is larger than the budget",
        400: "not all models fit at once",
        800: "all models fit at once",
    }
    for budget, sentence in cases.items():
        monkeypatch.setenv("MILIMO_ARBITER_BUDGET_BYTES", str(budget * MIB))
        document = json.loads(milimo("doctor", "--plan", "--json").stdout)
        assert sentence in document["advice"][0]
        fits = {fit["model"]: fit["fits"] for fit in document["plan"]}
        assert fits == {"flux-2": True, "sam-3": True, "ltx-2": budget >= 384}


def test_doctor_counts_only_what_can_be_loaded(
    milimo: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    models = tmp_path / "home/models"
    install_all(models)
    monkeypatch.setenv("MILIMO_ARBITER_BUDGET_BYTES", str(400 * MIB))
    install(models, "flux-2", "image", 256, fp8=10)
    install(models, "ltx-2", "video", 500, fp8=390, whole=10)
    document = json.loads(milimo("doctor", "--plan", "--json").stdout)
    plan = {(fit["model"], fit["footprint"]): (fit["loads"], fit["fits"]) for fit in document["plan"]}
    assert (plan["flux-2", "float32"], plan["flux-2", "fp8"]) == ((True, True), (False, False))
    video = [plan["ltx-2", footprint] for footprint in ("float32", "fp8", "whole")]
    assert video == [(True, False), (True, True), (False, False)]
    assert "not all models fit at once" in document["advice"][0]
    assert "flux-2\tfp8\t10.0 MiB\tno loader" in milimo("doctor", "--plan").stdout

    install(models, "flux-2", "image", 0, fp8=10)
    document = json.loads(milimo("doctor", "--plan", "--json").stdout)
    assert document["advice"] == ["cpu:0: flux-2 cannot run: there is no loader for any of its grades"]


def test_doctor_refuses_wrong_settings_in_a_line(milimo: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILIMO_DRAIN_SECONDS", "long")
    done = milimo("doctor")
    assert done.exit_code == 2
    assert "MILIMO_DRAIN_SECONDS" in done.stderr
    assert "Traceback" not in done.output


def test_doctor_needs_the_models_of_another_family(milimo: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILIMO_MODEL_FAMILY", "real")
    done = milimo("doctor", "--json")
    assert done.exit_code == 1
    states = {finding["topic"]: finding["state"] for finding in json.loads(done.stdout)["findings"]}
    assert states["models"] == "missing"


def test_verify(milimo: Callable[..., Any], tmp_path: Path) -> None:
    assert milimo("models", "verify").exit_code == 3
    root = install_all(tmp_path / "home/models")
    assert milimo("models", "verify", "--hashes").exit_code == 0
    weights = root / "weights.safetensors"
    weights.write_bytes(b"WEIGHTS")
    assert milimo("models", "verify").exit_code == 0
    done = milimo("models", "verify", "--hashes")
    assert done.exit_code == 1
    assert "tiny/ltx-2\tweights.safetensors\t7 bytes\twrong hash" in done.stdout
    assert "write it again" in done.stderr
    weights.unlink()
    assert "missing" in milimo("models", "verify").stdout


def test_up_names_the_ports_that_are_taken(milimo: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = milimo("up", "--port", port)
    assert done.exit_code == 5
    assert f"gateway wants 127.0.0.1:{port}" in done.stderr
    assert "--free-ports" in done.stderr


def test_down_without_a_mesh(milimo: Callable[..., Any]) -> None:
    done = milimo("down", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"stopped": False})


def test_tiny_models_are_complete_when_every_purpose_has_one(tmp_path: Path) -> None:
    assert small_models.needs_install(tmp_path, "tiny")
    root = install_all(tmp_path)
    assert not small_models.needs_install(tmp_path, "tiny")
    (root / "weights.safetensors").unlink()
    assert small_models.needs_install(tmp_path, "tiny")


def test_families_that_do_not_come_with_milimo_are_not_installed(milimo: Callable[..., Any], tmp_path: Path) -> None:
    assert not small_models.needs_install(tmp_path, "real")
    done = milimo("models", "install", "real")
    assert done.exit_code == 2
    assert "shapes or tiny" in done.stderr


def test_a_first_run_lends_too_little_for_the_two_largest_models() -> None:
    sizes = sorted(peak * MIB for _, peak in MODELS.values())
    assert sizes[-1] <= SMALL_BUDGET < sizes[-1] + sizes[-2]
