"""`milimo video`, `image`, `segment` and `script` against a real server."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from milimo.v1 import common_pb2, image_pb2, jobs_pb2, storyboard_pb2
from milimo_runtime.errors import ModelMissing
from milimo_runtime.statuses import to_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from .studio import Studio

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"


def test_a_video_from_a_prompt(milimo: Callable[..., Any], studio: Studio) -> None:
    done = milimo("video", "generate", "a boat", "--frames", 49, "--width", 256, "--height", 128, "--out", "boat.mp4")
    assert (done.exit_code, done.stdout) == (0, "boat.mp4\n")
    assert Path("boat.mp4").read_bytes() == b"moving pictures"
    request = studio.requests["SubmitVideo"][0]
    video = request.video
    assert (video.prompt, video.num_frames, video.width, video.height) == ("a boat", 49, 256, 128)
    assert not video.HasField("seed")
    assert not video.HasField("negative_prompt")
    assert request.request_id
    assert studio.projects[request.project_id].name == "default"


def test_progress_goes_to_stderr_with_stage_and_place_in_the_queue(milimo: Callable[..., Any]) -> None:
    done = milimo("video", "generate", "a boat", "--out", "boat.mp4")
    lines = [line.strip() for line in done.stderr.splitlines()]
    assert "waiting for memory, number 2 in the queue, about 12 s (image is busy)" in lines
    assert "40% stage 1" in lines
    assert "note: the size was rounded [SIZE_ROUNDED]" in lines
    assert lines[-1] == "succeeded"


def test_json_is_one_document(milimo: Callable[..., Any]) -> None:
    done = milimo("video", "generate", "a boat", "--json")
    document = json.loads(done.stdout)
    assert document["job"]["state"] == "JOB_STATE_SUCCEEDED"
    assert [Path(file).suffix for file in document["files"]] == [".mp4"]
    assert Path(document["files"][0]).read_bytes() == b"moving pictures"
    assert done.exit_code == 0


def test_without_waiting_the_jobs_id_is_printed(milimo: Callable[..., Any], studio: Studio) -> None:
    done = milimo("video", "generate", "a boat", "--no-wait")
    assert done.exit_code == 0
    assert done.stdout.strip() in studio.jobs
    assert "WatchJob" not in studio.requests
    assert "milimo jobs watch" in done.stderr


def test_every_video_option_reaches_the_request(milimo: Callable[..., Any], studio: Studio) -> None:
    Path("start.png").write_bytes(PNG)
    Path("end@2.png").write_bytes(PNG)
    options = ["--seed", 7, "--fps", 50, "--steps", 4, "--cfg", 2.5, "--negative", "", "--no-enhance"]
    images = ["--image", "start.png", "--image", "end@2.png@-1", "--image", "asset-known@24"]
    done = milimo("video", "generate", "--no-wait", *options, *images, "--priority", "high", "--extend", "asset-old")
    assert done.exit_code == 0, done.output
    video = studio.requests["SubmitVideo"][0].video
    assert (video.seed, video.fps, video.steps, video.cfg_scale) == (7, 50, 4, 2.5)
    assert video.HasField("negative_prompt")
    assert video.HasField("enhance_prompt")
    assert not video.enhance_prompt
    uploaded = list(studio.assets)[:2]
    assert [(one.asset_id, one.frame_index) for one in video.conditions] == [
        (uploaded[0], 0),
        (uploaded[1], -1),
        ("asset-known", 24),
    ]
    assert video.extend_asset_id == "asset-old"
    assert video.priority == common_pb2.PRIORITY_HIGH


def test_a_plan_starts_nothing(milimo: Callable[..., Any], studio: Studio) -> None:
    done = milimo("video", "generate", "a boat", "--plan")
    assert done.exit_code == 0
    assert "pipeline  ti2vid: there is no condition" in done.stdout
    assert "memory    bf16 5.0 GiB" in done.stdout
    assert "LoRAs     rain at 0.5" in done.stdout
    assert "stage_1\t8\t8" in done.stdout
    assert "SubmitVideo" not in studio.requests
    assert json.loads(milimo("video", "generate", "a boat", "--plan", "--json").stdout)["model"] == "tiny/ltx-2"


def test_a_job_that_fails(milimo: Callable[..., Any], studio: Studio) -> None:
    studio.outcome = jobs_pb2.JOB_STATE_FAILED
    studio.error = to_status(ModelMissing("vae/config.json is missing"))
    done = milimo("video", "generate", "a boat", "--out", "boat.mp4")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "error: vae/config.json is missing [MODEL_MISSING]; see `milimo models list`" in done.stderr
    assert "milimo jobs retry" in done.stderr
    assert not Path("boat.mp4").exists()
    document = json.loads(milimo("video", "generate", "a boat", "--json").stdout)
    assert document["job"]["error"]["message"] == "vae/config.json is missing"


def test_a_job_that_was_cancelled(milimo: Callable[..., Any], studio: Studio) -> None:
    studio.outcome = jobs_pb2.JOB_STATE_CANCELLED
    done = milimo("video", "generate", "a boat")
    assert done.exit_code == 1
    assert "was cancelled" in done.stderr


def test_several_images(milimo: Callable[..., Any], studio: Studio) -> None:
    done = milimo("image", "generate", "a boat", "--count", 3, "--out", "boat.jpg", "--cfg", 2)
    assert done.stdout.split() == ["boat-1.jpg", "boat-2.jpg", "boat-3.jpg"]
    assert Path("boat-3.jpg").read_bytes() == b"jpeg2"
    image = studio.requests["SubmitImage"][0].image
    assert image.enable_true_cfg
    assert (image.cfg_scale, image.format) == (2, image_pb2.IMAGE_FORMAT_JPEG)


def test_a_folder_for_the_results(milimo: Callable[..., Any]) -> None:
    Path("out").mkdir()
    done = milimo("image", "generate", "a boat", "--out", "out")
    assert done.exit_code == 0, done.output
    assert Path(done.stdout.strip()).parent == Path("out")
    assert list(Path("out").iterdir()) == [Path(done.stdout.strip())]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("image", "generate", "a boat", "--out", "boat.gif"), ".png"),
        (("image", "generate", "a boat", "--out", "nowhere/boat.png"), "no folder"),
        (("video", "generate", "a boat", "--image", "boat.png@last"), "no frame"),
        (("image", "inpaint", "a.png", "a boat"), "give one of"),
        (("image", "inpaint", "a.png", "a boat", "--text", "x", "--mask", "m.png"), "give one of"),
        (("image", "inpaint", "a.png", "a boat", "--outpaint", "1,2,3"), "left,top,right,bottom"),
        (("image", "inpaint", "a.png", "a boat", "--outpaint", "1,2,3,-4"), "left,top,right,bottom"),
        (("segment", "a.png"), "give either"),
        (("segment", "a.png", "--text", "x", "--point", "1,2"), "give either"),
        (("segment", "a.png", "--point", "1"), "x,y"),
        (("segment", "a.png", "--point", "1,2,3"), "x,y"),
        (("segment", "a.png", "--box", "5,5,1,9"), "x0 < x1"),
        (("video", "generate", "a boat", "--frames", "many"), "--frames"),
        (("video", "make"), "make"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_sent(
    milimo: Callable[..., Any], studio: Studio, arguments: tuple[str, ...], word: str
) -> None:
    done = milimo(*arguments)
    assert done.exit_code == 2
    assert word in done.stderr
    assert "Traceback" not in done.output
    assert not {"SubmitImage", "SubmitVideo", "SubmitInpaint", "PredictMask", "UploadAsset"} & set(studio.requests)


def test_inpainting_by_clicks(milimo: Callable[..., Any], studio: Studio) -> None:
    Path("boat.png").write_bytes(PNG)
    clicks = ["--point", "10,20", "--point", "5,5,0", "--box", "0,0,30,40"]
    done = milimo("image", "inpaint", "boat.png", "a ship", *clicks, "--strength", 0.5, "--out", "ship.png")
    assert done.exit_code == 0, done.output
    assert Path("ship.png").read_bytes() == PNG
    inpaint = studio.requests["SubmitInpaint"][0].inpaint
    assert inpaint.WhichOneof("mask") == "mask_prompt"
    assert [(point.x, point.y, point.HasField("positive"), point.positive) for point in inpaint.mask_prompt.points] == [
        (10, 20, False, False),
        (5, 5, True, False),
    ]
    assert inpaint.mask_prompt.boxes[0].y1 == 40
    assert inpaint.strength == 0.5


def test_a_larger_canvas_with_references_and_guidance(milimo: Callable[..., Any], studio: Studio) -> None:
    for name in ("boat.png", "style.png"):
        Path(name).write_bytes(PNG)
    options = ["--outpaint", "10,0,20,5", "--padding", "16", "--cfg", "3", "--negative-prompt", "grey"]
    options += ["--reference", "style.png", "--reference-mode", "both", "--diffusers-ae", "--guidance", "2"]
    done = milimo("image", "inpaint", "boat.png", "a ship", *options, "--out", "ship.png")
    assert done.exit_code == 0, done.output
    inpaint = studio.requests["SubmitInpaint"][0].inpaint
    assert inpaint.WhichOneof("mask") is None
    grown = inpaint.outpaint
    assert (grown.left, grown.top, grown.right, grown.bottom) == (10, 0, 20, 5)
    assert (inpaint.crop_padding, inpaint.enable_true_cfg, inpaint.cfg_scale) == (16, True, 3)
    assert (inpaint.negative_prompt, inpaint.guidance) == ("grey", 2)
    assert len(inpaint.reference_asset_ids) == 1
    assert (inpaint.reference_mode, inpaint.HasField("enable_ae"), inpaint.enable_ae) == (
        image_pb2.REFERENCE_MODE_BOTH,
        True,
        False,
    )


@pytest.mark.parametrize(
    ("options", "mode", "enable_ae"),
    [
        ([], image_pb2.REFERENCE_MODE_UNSPECIFIED, None),
        (["--reference-mode", "ip-adapter", "--diffusers-ae"], image_pb2.REFERENCE_MODE_IP_ADAPTER, False),
        (["--reference-mode", "both", "--native-ae"], image_pb2.REFERENCE_MODE_BOTH, True),
    ],
)
def test_how_references_act(
    milimo: Callable[..., Any], studio: Studio, options: list[str], mode: int, enable_ae: bool | None
) -> None:
    done = milimo("image", "generate", "a ship", *options, "--out", "ship.png")
    assert done.exit_code == 0, done.output
    image = studio.requests["SubmitImage"][0].image
    assert image.reference_mode == mode
    assert (image.enable_ae if image.HasField("enable_ae") else None) == enable_ae


def test_a_mask_by_clicks(milimo: Callable[..., Any], studio: Studio) -> None:
    Path("boat.png").write_bytes(PNG)
    done = milimo("segment", "boat.png", "--point", "10,20,1", "--out", "mask.png")
    assert (done.exit_code, done.stdout) == (0, "mask.png\n")
    assert Path("mask.png").read_bytes() == PNG
    request = studio.requests["PredictMask"][0]
    assert request.image.content == PNG
    assert request.points[0].positive
    # A small file travels in the request: no project and no asset come of it.
    assert not studio.assets
    assert not studio.projects


def test_a_mask_by_text_of_an_asset(milimo: Callable[..., Any], studio: Studio) -> None:
    done = milimo("segment", "asset-9", "--text", "the boat", "--json")
    document = json.loads(done.stdout)
    assert document["file"] == "asset-9-mask.png"
    assert document["mask"]["area"] == "99"
    assert len(document["instances"]) == 2
    assert "png" not in document["mask"]
    assert studio.requests["SegmentText"][0].image.asset_id == "asset-9"


def test_a_large_image_is_uploaded_first(milimo: Callable[..., Any], studio: Studio) -> None:
    Path("large.png").write_bytes(PNG + bytes(4 * 1024 * 1024))
    assert milimo("segment", "large.png", "--point", "1,2").exit_code == 0
    assert studio.requests["PredictMask"][0].image.asset_id in studio.assets


def test_a_script(milimo: Callable[..., Any], studio: Studio) -> None:
    Path("script.fountain").write_text("\ufeffEXT. HARBOUR - DAWN\n\nA boat leaves.\n", encoding="utf-8")
    done = milimo("script", "parse", "script.fountain", "--mode", "screenplay")
    assert done.exit_code == 0
    assert "EXT. HARBOUR - DAWN\t1.1\twide\tA boat leaves.\tMARA\tOne more day." in done.stdout
    assert "read as screenplay: it has a scene heading" in done.stderr
    request = studio.requests["ParseScript"][0]
    assert request.script.startswith("EXT.")
    assert request.mode == storyboard_pb2.SCRIPT_MODE_SCREENPLAY
    assert json.loads(milimo("script", "parse", "-", "--json", input="x").stdout)["scenes"][0]["shots"]
    assert studio.requests["ParseScript"][1].script == "x"


def test_a_script_that_is_no_text(milimo: Callable[..., Any]) -> None:
    Path("script.bin").write_bytes(b"\xff\xfe\x00\xd8")
    done = milimo("script", "parse", "script.bin")
    assert done.exit_code == 2
    assert "UTF-8" in done.stderr


def test_a_terminal_shows_a_bar(studio: Studio, address: str, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "milimo.cli", "video", "generate", "a boat", "--out", "v.mp4"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "110", "MILIMO_ADDRESS": address}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=slave) as process:
        os.close(slave)
        shown = b""
        # Reading fails when the other end is closed, which is the command's end.
        with contextlib.suppress(OSError):
            while piece := os.read(master, 4096):
                shown += piece
        os.close(master)
        assert process.stdout is not None
        assert process.stdout.read() == b"v.mp4\n"
    text = shown.decode()
    assert process.returncode == 0
    assert "━" in text
    assert "100%" in text
    assert "note: the size was rounded [SIZE_ROUNDED]" in text
    assert "succeeded" in text
    assert len(studio.jobs) == 1
