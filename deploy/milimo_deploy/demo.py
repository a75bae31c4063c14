"""`python -m milimo_deploy.demo`: a whole mesh on this machine turns a script and a prompt into pictures.

Writes the tiny checkpoints, starts all processes on free ports, and goes through the gateway with the public client
only: a script becomes shots, a shot an image, a click on it a mask, a prompt a video. Memory is kept so short that the
models cannot stay at once, so that leases are granted, reclaimed and given back on the way. Everything is stopped at
the end, also after an error or Ctrl-C.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

from milimo.cli_output import seconds_text, size_text
from milimo.cli_progress import progression
from milimo.client import Milimo
from milimo.errors import MilimoError, from_status
from milimo.v1 import arbiter_pb2, common_pb2, image_pb2, jobs_pb2, projects_pb2, segmentation_pb2, storyboard_pb2
from milimo.v1.video_pb2 import SubmitVideoRequest, VideoParameters

from milimo_deploy import tiny_models
from milimo_deploy.health import MeshNotReady
from milimo_deploy.mesh import free_addresses, plan_mesh
from milimo_deploy.running import AlreadyRunning, running_mesh, supervisor_of

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRIPT: Final = """\
EXT. HARBOUR - DAWN

A red fishing boat leaves the quiet harbour. Gulls circle above the mast.

MARA
(to herself)
One more day.

INT. WHEELHOUSE - CONTINUOUS

Close up of Mara's hands on the wheel.
"""
PROMPT: Final = "a red fishing boat sails past a lighthouse at dawn, slow tracking shot"
IMAGE_SIDE: Final = 256
VIDEO_SIZE: Final = (256, 128)
VIDEO_FRAMES: Final = 49
VIDEO_FPS: Final = 25


class DemoFailed(RuntimeError):
    """A step did not do what it should. The message says which, and why."""


def say(text: str) -> None:
    """One line for who watches."""
    print(text, flush=True)


def follow(milimo: Milimo, job_id: str, title: str) -> jobs_pb2.Job:
    """Shows a job until it ends.

    Raises:
        DemoFailed: when it did not succeed.
    """
    watch = milimo.watch(job_id)
    with progression(title) as view:
        for event in watch:
            view.show(event)
    job = watch.result()
    if job.state != jobs_pb2.JOB_STATE_SUCCEEDED:
        state = jobs_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").lower()
        raise DemoFailed(f"the {title} job {job.id} {state}: {from_status(job.error).message}")
    return job


def first_action(milimo: Milimo) -> str:
    """Parses the script and answers with what its first shot shows."""
    answer = milimo.storyboard.ParseScript(storyboard_pb2.ParseScriptRequest(script=SCRIPT))
    shots = [(scene, shot) for scene in answer.scenes for shot in scene.shots]
    if not shots:
        raise DemoFailed("the script has no shots")
    say(f"\nThe script has {len(answer.scenes)} scenes and {len(shots)} shots:")
    for scene, shot in shots:
        kind = storyboard_pb2.ShotType.Name(shot.shot_type).removeprefix("SHOT_TYPE_").lower()
        said = f'  {shot.character}: "{shot.dialogue}"' if shot.dialogue else ""
        say(f"  {scene.heading:28} {kind:13} {shot.action}{said}")
    return next(shot.action for _, shot in shots if shot.action)


def make_image(milimo: Milimo, project_id: str, prompt: str, out: Path) -> tuple[Path, str]:
    """An image of the prompt: its file and its asset's id."""
    say(f"\nImage: {prompt}")
    image = image_pb2.ImageParameters(prompt=prompt, width=IMAGE_SIDE, height=IMAGE_SIDE, seed=1)
    request = image_pb2.SubmitImageRequest(project_id=project_id, image=image, request_id=str(uuid.uuid4()))
    asset = follow(milimo, milimo.images.SubmitImage(request).job.id, "image").assets[0]
    return milimo.download(asset.id, out / "image.jpg"), asset.id


def make_mask(milimo: Milimo, asset_id: str, out: Path) -> Path:
    """The mask of what lies in the middle of the image."""
    say("\nMask: what is under a click in the middle of the image")
    request = segmentation_pb2.PredictMaskRequest(
        image=common_pb2.ImageSource(asset_id=asset_id),
        points=[common_pb2.Point(x=IMAGE_SIDE / 2, y=IMAGE_SIDE / 2)],
    )
    mask = milimo.segmentation.PredictMask(request).masks[0]
    say(f"  {mask.area} pixels, score {mask.score:.2f}")
    path = out / "mask.png"
    path.write_bytes(mask.png)
    return path


def make_video(milimo: Milimo, project_id: str, out: Path) -> Path:
    """A video of the demo's prompt."""
    say(f"\nVideo: {PROMPT}")
    width, height = VIDEO_SIZE
    video = VideoParameters(prompt=PROMPT, width=width, height=height, num_frames=VIDEO_FRAMES, fps=VIDEO_FPS, seed=1)
    request = SubmitVideoRequest(project_id=project_id, video=video, request_id=str(uuid.uuid4()))
    job = follow(milimo, milimo.videos.SubmitVideo(request).job.id, "video")
    return milimo.download(job.assets[0].id, out / "video.mp4")


def tell_decisions(milimo: Milimo) -> None:
    """Prints what the arbiter decided, oldest first."""
    status = milimo.gpu.GetStatus(arbiter_pb2.GetStatusRequest()).status
    for device in status.devices:
        budget = device.total_bytes - device.reserve_bytes
        say(f"\nMemory: {size_text(budget)} of {device.device} were lent, too little for all models at once:")
    for decision in status.decisions:
        when = decision.time.ToDatetime().strftime("%H:%M:%S")
        size = size_text(decision.bytes) if decision.bytes else ""
        action = decision.action.replace("_", " ")
        say(f"  {when}  {action:18} {decision.tenant:14} {size:>10}  {decision.reason}".rstrip())


def run(out: Path) -> list[Path]:
    """The demo; its results are in the folder `out`: image, mask and video.

    Raises:
        AlreadyRunning, DemoFailed, MeshNotReady, MilimoError, TinyModelsFailed: when a step fails. Nothing runs then.
    """
    home, models = out / "home", out / "models"
    if (other := supervisor_of(home)) is not None:
        raise AlreadyRunning(f"a demo runs in {out} already, with the supervisor {other}")
    # The checkpoints are kept for the next time; jobs and media of an earlier demo are not.
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    if not tiny_models.are_complete(models):
        say("Writing the tiny checkpoints …")
        tiny_models.write(models)
    environment = {
        "MILIMO_MODELS_DIR": str(models.resolve()),
        "MILIMO_MODEL_FAMILY": tiny_models.FAMILY,
        # The same on every machine, and memory short enough to be fought for.
        "MILIMO_DEVICE": "cpu",
        "MILIMO_ARBITER_DEVICE": "cpu",
    }
    mesh = plan_mesh(home, free_addresses(), environment=environment, drain_seconds=5.0)
    say("Starting the mesh …")
    begin = time.monotonic()
    with running_mesh(
        mesh,
        on_ready=lambda name, seconds: say(f"  {name} after {seconds:.1f} s"),
        on_stop=lambda: say("\nStopping the mesh …"),
    ) as running:
        say(f"It answers at {running.address}")
        with Milimo(running.address) as milimo:
            project = projects_pb2.Project(name="demo", resolution_w=VIDEO_SIZE[0], resolution_h=VIDEO_SIZE[1])
            project_id = milimo.projects.CreateProject(projects_pb2.CreateProjectRequest(project=project)).project.id
            image, asset_id = make_image(milimo, project_id, first_action(milimo), out)
            mask = make_mask(milimo, asset_id, out)
            video = make_video(milimo, project_id, out)
            tell_decisions(milimo)
    say(f"Done after {seconds_text(time.monotonic() - begin)}. The pictures are noise by design: the tiny checkpoints")
    say("have the real architectures and layouts, and small random weights.")
    return [image, mask, video]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo; 0 when everything was made, 1 when a step failed, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="milimo_deploy.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="folder of the results")
    out: Path = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    try:
        results = run(out)
    except (AlreadyRunning, DemoFailed, MeshNotReady, tiny_models.TinyModelsFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except MilimoError as error:
        print(f"error: {error.message} [{error.reason or error.code.name}]", file=sys.stderr)
        print(f"the logs are in {out / 'home/logs'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; everything was stopped", file=sys.stderr)
        return 130
    for path in results:
        say(str(path.resolve()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
