"""The commands that list, move and steer; and the command tree itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import typer
from milimo.cli import build_app, group
from milimo.cli_gpu import size_of
from milimo.cli_reference import commands, reference
from milimo.probes import PROCESSES
from milimo.v1 import jobs_pb2
from milimo_deploy.commands import register
from milimo_deploy.mesh import NAMES
from typer.testing import CliRunner

if TYPE_CHECKING:
    from collections.abc import Callable

    from .studio import Studio

PAGE = Path(__file__).parents[3] / "docs/cli.md"
TREE = dict(commands(typer.main.get_command(build_app([register])), ("milimo",)))


def test_projects(milimo: Callable[..., Any], studio: Studio) -> None:
    made = milimo("projects", "create", "harbour", "--width", 256, "--height", 128, "--fps", 24)
    project_id = made.stdout.strip()
    assert studio.projects[project_id].resolution_w == 256
    milimo("projects", "create", "second")
    milimo("projects", "create", "third")
    listed = json.loads(milimo("projects", "list", "--json").stdout)["projects"]
    assert [project["name"] for project in listed] == ["third", "second", "harbour"]
    assert f"{project_id}\tharbour\t256×128\t24" in milimo("projects", "list").stdout
    refused = milimo("projects", "delete", "harbour")
    assert (refused.exit_code, project_id in studio.projects) == (2, True)
    assert "--yes" in refused.stderr
    assert milimo("projects", "delete", "harbour", "--yes").exit_code == 0
    assert project_id not in studio.projects
    assert milimo("projects", "delete", "harbour", "--yes").exit_code == 3


def test_a_project_by_id_name_or_default(milimo: Callable[..., Any], studio: Studio) -> None:
    ids = {name: milimo("projects", "create", name).stdout.strip() for name in ("a", "b", "c")}
    for wanted in ("b", ids["b"]):
        milimo("video", "generate", "x", "--no-wait", "--project", wanted)
        assert studio.requests["SubmitVideo"][-1].project_id == ids["b"]
    milimo("video", "generate", "x", "--no-wait")
    milimo("video", "generate", "x", "--no-wait")
    default = studio.requests["SubmitVideo"][-1].project_id
    assert studio.projects[default].name == "default"
    assert studio.requests["SubmitVideo"][-2].project_id == default
    missing = milimo("video", "generate", "x", "--no-wait", "--project", "z")
    assert missing.exit_code == 3
    assert "'z'" in missing.stderr


def test_two_projects_of_one_name(milimo: Callable[..., Any], studio: Studio) -> None:
    ids = [milimo("projects", "create", name).stdout.strip() for name in ("twin", "twin", "default", "default")]
    both = milimo("video", "generate", "x", "--no-wait", "--project", "twin")
    assert both.exit_code == 2
    assert ids[0] in both.stderr
    assert ids[1] in both.stderr
    milimo("video", "generate", "x", "--no-wait")
    assert studio.requests["SubmitVideo"][-1].project_id == ids[2]


def test_assets(milimo: Callable[..., Any], studio: Studio) -> None:
    Path("a.png").write_bytes(b"picture a")
    Path("b.png").write_bytes(b"picture b")
    ids = milimo("assets", "upload", "a.png", "b.png").stdout.split()
    assert [studio.assets[one][1] for one in ids] == [b"picture a", b"picture b"]
    assert len(json.loads(milimo("assets", "list", "--json").stdout)["assets"]) == 2
    Path("out").mkdir()
    done = milimo("assets", "download", ids[1], "--out", "out")
    assert done.stdout == "out/b.png\n"
    assert Path("out/b.png").read_bytes() == b"picture b"


@pytest.mark.parametrize("name", ["../../escape.png", "/etc/escape.png", "..", "", "deep/er/escape.png"])
def test_a_name_from_the_server_stays_in_the_folder(
    milimo: Callable[..., Any], studio: Studio, tmp_path: Path, name: str
) -> None:
    asset = studio.add_asset("p", b"x", "image/png", name=name)
    done = milimo("assets", "download", asset.id)
    assert done.exit_code == 0, done.output
    written = Path(done.stdout.strip())
    assert written.resolve().parent == tmp_path


def test_jobs(milimo: Callable[..., Any], studio: Studio) -> None:
    job = studio.add_job("p", [studio.add_asset("p", b"film", "video/mp4", name="film")])
    assert f"{job.id}\tvideo\tsucceeded\t100%" in milimo("jobs", "list").stdout
    assert json.loads(milimo("jobs", "list", "--state", "failed", "--json").stdout)["jobs"] == []
    assert studio.requests["ListJobs"][-1].states == [jobs_pb2.JOB_STATE_FAILED]
    assert milimo("jobs", "cancel", job.id, "--keep-partial").exit_code == 0
    assert studio.requests["CancelJob"][0].keep_partial
    again = milimo("jobs", "retry", job.id, "--no-wait").stdout.strip()
    assert again != job.id
    assert again in studio.jobs
    assert studio.requests["RetryJob"][0].request_id


def test_a_watch_in_json_is_one_event_a_line(milimo: Callable[..., Any], studio: Studio) -> None:
    job = studio.add_job("p", [])
    studio.cuts.extend([2, 2])
    done = milimo("jobs", "watch", job.id, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [int(event["sequence"]) for event in events if event["durable"]] == [1, 2, 3, 4, 5]
    assert events[0]["accepted"]["job"]["id"] == job.id
    assert done.exit_code == 0
    everything = [json.loads(line) for line in milimo("jobs", "watch", "--json").stdout.splitlines()]
    assert len(everything) == len(studio.events[job.id])


def test_memory(milimo: Callable[..., Any]) -> None:
    done = milimo("gpu", "status", "--decisions", 3)
    assert "cpu:0\ta processor\t1.0 GiB" in done.stdout
    assert "1\timage" in done.stdout
    assert "3.0 MiB\t2.0 MiB\t1.0 MiB" in done.stdout
    assert "parked weights: 1.0 MiB of 4.0 MiB host memory" in done.stdout
    assert "lease-0\tvideo\tbf16\tcpu:0\t1.0 MiB\t?\t–\tbusy\tj\t" in done.stdout
    assert "1.0 MiB\t?\t1 min 30 s\tvideo is busy" in done.stdout
    assert "ollama\tcpu:0\t?\tit does not answer" in done.stdout
    assert [f"number {number}" in done.stdout for number in (16, 17, 19)] == [False, True, True]
    assert "number" not in milimo("gpu", "status", "--decisions", 0).stdout
    lines = milimo("gpu", "watch", "--json").stdout.splitlines()
    assert [len(json.loads(line)["decisions"]) for line in lines] == [20, 20]
    assert milimo("gpu", "watch").stdout.count("cpu:0\ta processor") == 2


def test_taking_memory_back(milimo: Callable[..., Any], studio: Studio) -> None:
    done = milimo("gpu", "reclaim", "--device", "cpu:0", "--bytes", "1.5GiB")
    assert (done.exit_code, done.stderr) == (0, "asked for 1.0 MiB\n")
    asked = studio.requests["ReclaimMemory"][-1]
    assert (asked.device, asked.bytes) == ("cpu:0", 3 * 1024**3 // 2)
    assert "lease-0" in done.stdout
    assert len(json.loads(milimo("gpu", "reclaim", "--json").stdout)["leases"]) == 1
    asked = studio.requests["ReclaimMemory"][-1]
    assert (asked.device, asked.bytes) == ("", 0)
    assert milimo("gpu", "reclaim", "--device", "mps:0").stderr == "nothing is idle there: nobody was asked\n"
    unknown = milimo("gpu", "reclaim", "--device", "cuda:7")
    assert unknown.exit_code == 3
    assert "cuda:7" in unknown.stderr


@pytest.mark.parametrize("size", ["", "much", "-1", "0", "0.1", "1 parsec", "1e3", "9999999999TB"])
def test_sizes_that_are_none(milimo: Callable[..., Any], studio: Studio, size: str) -> None:
    refused = milimo("gpu", "reclaim", f"--bytes={size}")
    assert refused.exit_code == 2
    assert "--bytes" in refused.stderr
    assert "ReclaimMemory" not in studio.requests


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("20GB", 20 * 10**9), ("512 MiB", 2**29), ("2.5k", 2_500), ("1t", 10**12)]
)
def test_sizes(text: str, size: int) -> None:
    assert size_of(text) == size


def test_revoking(milimo: Callable[..., Any], studio: Studio) -> None:
    refused = milimo("gpu", "revoke", "video")
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert milimo("gpu", "revoke", "nobody", "--yes").exit_code == 3
    several = milimo("gpu", "revoke", "image", "--yes")
    assert several.exit_code == 2
    assert "lease-1, lease-2" in several.stderr
    assert "RevokeLease" not in studio.requests
    done = milimo("gpu", "revoke", "video", "--yes", "--reason", "a fan is broken")
    assert done.exit_code == 0
    asked = studio.requests["RevokeLease"][-1]
    assert (asked.lease_id, asked.reason) == ("lease-0", "a fan is broken")
    answer = json.loads(milimo("gpu", "revoke", "lease-2", "--yes", "--json").stdout)
    assert answer["lease"]["lease_id"] == "lease-2"


def test_models(milimo: Callable[..., Any]) -> None:
    done = milimo("models", "list")
    assert "tiny/ltx-2\tvideo\tno" in done.stdout
    assert "tiny/ltx-2: `milimo models install tiny` writes it" in done.stderr


def test_the_mesh(milimo: Callable[..., Any], studio: Studio, address: str) -> None:
    done = milimo("status")
    assert done.exit_code == 0, done.output
    assert f"gateway at {address}" in done.stdout
    for process in NAMES:
        assert f"{process}\tanswers\n" in done.stdout
    # Nothing is asked of a service that it would have to refuse.
    assert set(studio.requests) == {f"Check {name}" for name in PROCESSES} | {"ListJobs", "GetStatus"}
    studio.failures["Check video"] = grpc.StatusCode.UNAVAILABLE
    studio.draining.add("edge")
    lame = milimo("status", "--json")
    assert lame.exit_code == 4
    document = json.loads(lame.stdout)
    assert set(document["processes"]) == set(NAMES)
    assert [name for name, state in document["processes"].items() if not state["answers"]] == ["video", "edge"]
    assert milimo("status", "--address", "127.0.0.1:1").exit_code == 4


def test_the_address_of_the_running_mesh_is_found(
    milimo: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, address: str, tmp_path: Path
) -> None:
    monkeypatch.delenv("MILIMO_ADDRESS")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/mesh.json").write_text(json.dumps({"address": address}))
    assert milimo("projects", "list").exit_code == 0


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(build_app([register]))


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_every_command_has_help_and_json(path: tuple[str, ...]) -> None:
    done = CliRunner().invoke(build_app([register]), [*path[1:], "--help"])
    assert done.exit_code == 0
    assert (TREE[path].help or "").strip().endswith(".")
    assert "--json" in done.stdout


def test_help_tells_the_exit_codes_and_needs_no_grpc() -> None:
    program = (
        "import sys; from milimo.cli import build_app; from milimo_deploy.commands import register\n"
        "try: build_app([register])(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'grpc', 'rich', 'pydantic_settings', 'torch', 'psutil', 'google.protobuf'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "130  interrupted" in done.stdout
    assert "up " in done.stdout


def test_extensions_join_a_group_or_make_one() -> None:
    def extend(app: typer.Typer) -> None:
        @group(app, "models").command("count")
        def count() -> None:
            print("three")

        @group(app, "colours").command("list")
        def colours() -> None:
            print("red")

        @group(app, "colours").command("mix")
        def mix() -> None:
            print("violet")

    app = build_app([extend])
    assert CliRunner().invoke(app, ["models", "count"]).stdout == "three\n"
    assert CliRunner().invoke(app, ["colours", "mix"]).stdout == "violet\n"


def test_version(milimo: Callable[..., Any]) -> None:
    assert milimo("--version").stdout.startswith("milimo 0.")
