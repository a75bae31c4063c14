"""`python -m milimo_deploy.demo`: a whole mesh on this machine turns a script into a short film.

Installs the small models, starts all processes on free ports, and goes through the gateway with the public client
only: a script becomes shots, a shot a picture, the picture a video, and the videos a film. Memory is kept so short that
the models cannot stay at once, so that leases are granted, reclaimed and given back on the way. Everything is stopped
at the end, also after an error or Ctrl-C.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

import av
from milimo.cli_output import seconds_text, size_text
from milimo.cli_progress import progression
from milimo.client import Milimo
from milimo.errors import MilimoError, from_status
from milimo.v1 import arbiter_pb2, image_pb2, jobs_pb2, projects_pb2, storyboard_pb2
from milimo.v1.video_pb2 import SubmitVideoRequest, VideoParameters
from milimo_video.packets import PacketCopy

from milimo_deploy import small_models
from milimo_deploy.health import MeshNotReady
from milimo_deploy.mesh import free_addresses, plan_mesh
from milimo_deploy.running import AlreadyRunning, running_mesh, supervisor_of

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRIPT: Final = """\
EXT. HARBOUR - NIGHT

A large yellow circle rises on a black background.

EXT. OPEN SEA - DAY

A small red triangle drifts to the right on a teal background.

INT. CABIN - DAY

A white star bounces on a brown background.
"""
SIZE: Final = (256, 128)
FRAMES: Final = 121
FPS: Final = 25
SEED: Final = 1


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


def read_script(milimo: Milimo) -> list[str]:
    """Parses the script and answers with what its shots show."""
    answer = milimo.storyboard.ParseScript(storyboard_pb2.ParseScriptRequest(script=SCRIPT))
    shots = [(scene, shot) for scene in answer.scenes for shot in scene.shots]
    if not shots:
        raise DemoFailed("the script has no shots")
    say(f"\nThe script has {len(answer.scenes)} scenes and {len(shots)} shots:")
    for scene, shot in shots:
        say(f"  {scene.heading:22} {shot.action}")
    return [shot.action for _, shot in shots]


def make_image(milimo: Milimo, project_id: str, prompt: str, path: Path) -> str:
    """A picture of a shot in the file `path`; its asset's id."""
    say(f"  {prompt}")
    width, height = SIZE
    image = image_pb2.ImageParameters(prompt=prompt, width=width, height=height, seed=SEED)
    request = image_pb2.SubmitImageRequest(project_id=project_id, image=image, request_id=str(uuid.uuid4()))
    asset = follow(milimo, milimo.images.SubmitImage(request).job.id, "image").assets[0]
    milimo.download(asset.id, path)
    return asset.id


def make_video(milimo: Milimo, project_id: str, prompt: str, image_id: str, path: Path) -> Path:
    """The video of a shot, which begins with its picture."""
    say(f"  {prompt}")
    width, height = SIZE
    video = VideoParameters(prompt=prompt, width=width, height=height, num_frames=FRAMES, fps=FPS, seed=SEED)
    video.conditions.add(asset_id=image_id, frame_index=0)
    request = SubmitVideoRequest(project_id=project_id, video=video, request_id=str(uuid.uuid4()))
    job = follow(milimo, milimo.videos.SubmitVideo(request).job.id, "video")
    return milimo.download(job.assets[0].id, path)


def join(shots: Sequence[Path], film: Path) -> Path:
    """One film of the shots' pictures, without encoding them again. Small models are silent, so it has no sound."""
    with av.open(str(film), "w", options={"movflags": "+faststart"}) as container:
        copy = PacketCopy(container, shots[0], FPS)
        for shot in shots:
            copy.copy(shot, frames=FRAMES)
    return film


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
    """The demo; its results are in the folder `out`: a picture and a video of each shot, and the film.

    Raises:
        AlreadyRunning, DemoFailed, InstallFailed, MeshNotReady, MilimoError: when a step fails. Nothing runs then.
    """
    home, models = out / "home", out / "models"
    if (other := supervisor_of(home)) is not None:
        raise AlreadyRunning(f"a demo runs in {out} already, with the supervisor {other}")
    # The models are kept for the next time; jobs and media of an earlier demo are not.
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    if small_models.needs_install(models, small_models.SHAPES):
        say("Writing the small models …")
        small_models.install(models, small_models.SHAPES)
    environment = {
        "MILIMO_MODELS_DIR": str(models.resolve()),
        "MILIMO_MODEL_FAMILY": small_models.SHAPES,
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
            project = projects_pb2.Project(name="demo", resolution_w=SIZE[0], resolution_h=SIZE[1])
            project_id = milimo.projects.CreateProject(projects_pb2.CreateProjectRequest(project=project)).project.id
            prompts = read_script(milimo)
            say("\nA picture of each shot:")
            pictures = [out / f"shot-{number}.jpg" for number, _ in enumerate(prompts, 1)]
            ids = [make_image(milimo, project_id, *each) for each in zip(prompts, pictures, strict=True)]
            say("\nThe pictures begin to move:")
            shots = [
                make_video(milimo, project_id, prompt, image_id, picture.with_suffix(".mp4"))
                for prompt, image_id, picture in zip(prompts, ids, pictures, strict=True)
            ]
            film = join(shots, out / "film.mp4")
            tell_decisions(milimo)
    say(f"Done after {seconds_text(time.monotonic() - begin)}. Small models made this, which know nothing but shapes:")
    say("docs/shapes.md tells how they were trained, the README how real ones are installed.")
    return [*pictures, *shots, film]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo; 0 when everything was made, 1 when a step failed, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="milimo_deploy.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="folder of the results")
    out: Path = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    try:
        results = run(out)
    except (AlreadyRunning, DemoFailed, MeshNotReady, small_models.InstallFailed) as error:
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
