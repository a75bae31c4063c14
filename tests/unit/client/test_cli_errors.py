"""Errors of the command: one line, an exit code, and never a traceback."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from milimo.cli_errors import EXIT_CODES, option_of
from milimo.v1 import jobs_pb2
from milimo_runtime import errors
from milimo_runtime.interceptors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .studio import Studio

BAD_SIZE = InvalidRequest(
    "video.width: must be even; video.num_frames: must be at most 20000",
    violations=[
        errors.FieldViolation(field="video.width", description="must be even"),
        errors.FieldViolation(field="video.num_frames", description="must be at most 20000"),
    ],
)


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (BAD_SIZE, 2, ["video.width: must be even", "[INVALID_FIELD]", "change --width, --frames"]),
        (errors.NotFound("asset", "x"), 3, ["there is no asset with the id 'x'", "[NOT_FOUND]", "milimo assets list"]),
        (errors.Unavailable("video is starting"), 4, ["video is starting", "milimo status"]),
        (grpc.StatusCode.UNAVAILABLE, 4, ["[UNAVAILABLE]", "milimo status"]),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 4, ["[DEADLINE_EXCEEDED]"]),
        (errors.ModelMissing("config.json is missing"), 5, ["[MODEL_MISSING]", "milimo models list"]),
        (errors.AlreadyExists("used before"), 5, ["[REQUEST_ID_REUSED]"]),
        (errors.ResourceExhausted("full", reason="QUEUE_FULL"), 6, ["[QUEUE_FULL]", "milimo jobs list"]),
        (errors.ResourceExhausted("busy", retry_after_s=3), 6, ["try again in 3 s"]),
        (grpc.StatusCode.UNAUTHENTICATED, 7, ["MILIMO_API_KEY"]),
        (grpc.StatusCode.PERMISSION_DENIED, 7, ["MILIMO_API_KEY"]),
        (errors.Unimplemented("extending a video"), 1, ["not available in this version", "[NOT_IMPLEMENTED]"]),
        (grpc.StatusCode.INTERNAL, 1, ["[INTERNAL]", "log"]),
    ],
    ids=str,
)
def test_each_error_has_its_code_and_says_what_to_do(
    milimo: Callable[..., Any],
    studio: Studio,
    failure: errors.MilimoError | grpc.StatusCode,
    code: int,
    words: list[str],
) -> None:
    studio.failures["SubmitVideo"] = failure
    done = milimo("video", "generate", "a boat")
    assert done.exit_code == code
    assert code in EXIT_CODES
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]
    studio.failures["SubmitVideo"] = failure
    document = json.loads(milimo("video", "generate", "a boat", "--json").stdout)
    assert document["error"]["message"]
    assert document["error"]["advice"] or code == 5


def test_json_errors_name_the_fields(milimo: Callable[..., Any], studio: Studio) -> None:
    studio.failures["SubmitVideo"] = BAD_SIZE
    error = json.loads(milimo("video", "generate", "a boat", "--json").stdout)["error"]
    assert error["code"] == "INVALID_ARGUMENT"
    assert error["violations"][0] == {"field": "video.width", "description": "must be even"}


def test_no_mesh(milimo: Callable[..., Any]) -> None:
    done = milimo("projects", "list", "--address", "127.0.0.1:1")
    assert done.exit_code == 4
    assert done.stderr == (
        "error: there is no connection [UNAVAILABLE]; nothing answers at 127.0.0.1:1: "
        "start the mesh with `milimo up`, or name another with --address\n"
    )


def test_an_address_that_is_none(milimo: Callable[..., Any]) -> None:
    done = milimo("projects", "list", "--address", "ftp://x")
    assert done.exit_code == 2
    assert "is no address" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("script", "parse", "missing.txt"),
        ("assets", "upload", "missing.png"),
        ("segment", "--point", "1,1", "missing.png"),
        ("video", "generate", "a boat", "--image", "no/folder"),
    ],
    ids=" ".join,
)
def test_a_missing_file(milimo: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    done = milimo(*arguments)
    assert done.exit_code == 3
    assert f"there is no file {arguments[-1]}" in done.stderr


def test_a_file_that_cannot_be_written(milimo: Callable[..., Any], studio: Studio, tmp_path: Path) -> None:
    asset = studio.add_asset("p", b"x", "image/png", name="x.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png/x.png").mkdir()
    done = milimo("assets", "download", asset.id, "--out", "folder.png")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("field", "option"),
    [
        ("video.num_frames", "--frames"),
        ("video.conditions[1].strength", None),
        ("video.conditions[1]", "--image"),
        ("image.width", "--width"),
        ("points[0].y", "--point"),
        ("boxes[0].x1", "--box"),
        ("inpaint.mask_asset_id", "--mask"),
        ("inpaint.outpaint.left", "--outpaint"),
        ("element.trigger_word", "--trigger"),
        ("project_id", "--project"),
        ("request_id", None),
    ],
)
def test_options_behind_fields(field: str, option: str | None) -> None:
    assert option_of(field) == option


def test_cancelling_a_job_that_has_ended_says_so(milimo: Callable[..., Any], studio: Studio) -> None:
    job = studio.add_job("p", [])
    assert milimo("jobs", "cancel", job.id).stdout == f"job {job.id} has ended: succeeded\n"


def test_ctrl_c_leaves_the_job_and_says_how_to_go_on(studio: Studio, address: str, tmp_path: Path) -> None:
    studio.hang.set()
    command = [sys.executable, "-m", "milimo.cli", "video", "generate", "a boat", "--address", address]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines: list[str] = []
        # The last line before the server falls silent: the command waits in the middle of the stream.
        while not any("number 2 in the queue" in line for line in lines):
            line = process.stderr.readline()
            assert line, "".join(lines)
            lines.append(line)
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=20)
    job = next(iter(studio.jobs))
    assert process.returncode == 130
    assert out == ""
    assert rest == f"job {job} goes on. Watch it: `milimo jobs watch {job}`; cancel it: `milimo jobs cancel {job}`\n"
    assert "CancelJob" not in studio.requests
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_goes_away(studio: Studio, address: str, tmp_path: Path) -> None:
    for _ in range(2000):
        studio.add_job("p", [])
    command = f"{sys.executable} -m milimo.cli jobs list --limit 1000 --address {address} | head -1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.startswith("id\t")
    assert "Traceback" not in done.stderr


def test_a_failed_job_is_an_exit_code_for_watchers_too(milimo: Callable[..., Any], studio: Studio) -> None:
    studio.outcome = jobs_pb2.JOB_STATE_CANCELLED
    job = studio.add_job("p", [])
    assert milimo("jobs", "watch", job.id).exit_code == 1
