"""`milimo video`."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milimo.cli_output import as_document, size_text, word
from milimo.cli_project import as_asset, find_project
from milimo.cli_results import check_out, finish
from milimo.cli_session import AddressOption, JsonOption, ProjectOption, Session, open_session
from milimo.cli_words import PriorityWord, priority_of

if TYPE_CHECKING:
    from milimo.v1.video_pb2 import VideoCondition, VideoPlan

app = typer.Typer(no_args_is_help=True, help="Make videos.")


def split_condition(text: str) -> tuple[str, int]:
    """ "FILE@FRAME" → file or asset and frame; without "@" the first frame.

    Raises:
        typer.BadParameter: when the frame is no number.
    """
    name, separator, frame = text.rpartition("@")
    if not separator or Path(text).is_file():
        return text, 0
    try:
        return name, int(frame)
    except ValueError:
        raise typer.BadParameter(f"{frame!r} is no frame; write FILE or FILE@FRAME", param_hint="--image") from None


def _condition(session: Session, text: str, project_id: str) -> VideoCondition:
    from milimo.v1.video_pb2 import VideoCondition

    name, frame = split_condition(text)
    return VideoCondition(asset_id=as_asset(session, name, project_id=project_id), frame_index=frame)


@app.command("generate")
def generate(
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="What happens. May be empty when there is an image.")
    ] = "",
    project: ProjectOption = None,
    frames: Annotated[int | None, typer.Option(help="Frames, 1 to 20,000. Default 121.")] = None,
    width: Annotated[int | None, typer.Option(help="Pixels, even. Default: the project's.")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels, even. Default: the project's.")] = None,
    fps: Annotated[int | None, typer.Option(help="24, 25, 30, 48, 50 or 60. Default: the project's, 25.")] = None,
    seed: Annotated[int | None, typer.Option(help="Default: random; the job's parameters tell it.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps. Default: the checkpoint's.")] = None,
    cfg: Annotated[float | None, typer.Option(help="Guidance, 1 to 20. Default 3.")] = None,
    negative: Annotated[str | None, typer.Option(help="What not to show; empty for none.")] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE[@FRAME]", help="Show this image, a file or an asset, at a frame. Repeatable."),
    ] = None,
    extend: Annotated[
        str | None, typer.Option(metavar="ASSET", help="Continue this video, a file or an asset.")
    ] = None,
    upscale: Annotated[
        bool, typer.Option("--upscale", help="Make half of the frames, and those between them after.")
    ] = False,
    enhance: Annotated[
        bool | None, typer.Option("--enhance/--no-enhance", help="Let the language model enrich the prompt.")
    ] = None,
    priority: Annotated[PriorityWord, typer.Option(help="Order among waiting jobs.")] = PriorityWord.NORMAL,
    out: Annotated[Path | None, typer.Option(help="File or folder of the result. Default: here.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait, or print the job's id.")] = True,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be done, and why.")] = False,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Make a video from a prompt, and from images at chosen frames."""
    from milimo.v1.video_pb2 import PlanVideoRequest, SubmitVideoRequest, VideoParameters

    check_out(out)
    with open_session(address, json) as session:
        project_id = find_project(session, project)
        video = VideoParameters(
            prompt=prompt,
            negative_prompt=negative,
            seed=seed,
            width=width,
            height=height,
            num_frames=frames,
            fps=fps,
            steps=steps,
            cfg_scale=cfg,
            upscale=upscale,
            enhance_prompt=enhance,
            priority=priority_of(priority),
            conditions=[_condition(session, text, project_id) for text in image or ()],
            extend_asset_id=as_asset(session, extend, project_id=project_id) if extend else "",
        )
        if plan:
            _show_plan(
                session, session.client.videos.PlanVideo(PlanVideoRequest(project_id=project_id, video=video)).plan
            )
            return
        request = SubmitVideoRequest(project_id=project_id, video=video, request_id=str(uuid.uuid4()))
        finish(session, session.client.videos.SubmitVideo(request).job, out=out, wait=wait, title="video")


def _show_plan(session: Session, plan: VideoPlan) -> None:
    from milimo.v1.video_pb2 import VideoPipeline

    session.output.document(as_document(plan))
    session.output.text(f"pipeline  {word(VideoPipeline.Name(plan.pipeline), 'VIDEO_PIPELINE_')}: {plan.reason}")
    session.output.text(f"model     {plan.model}{' (distilled)' if plan.distilled else ''}")
    length = f"{plan.num_frames} frames at {plan.fps:g} fps, {plan.duration_seconds:.2f} s"
    session.output.text(f"result    {plan.width}×{plan.height}, {length}")
    session.output.text(f"computed  {plan.model_width}×{plan.model_height}, {plan.model_frames} frames")
    footprints = ", ".join(f"{footprint.name} {size_text(footprint.bytes)}" for footprint in plan.footprints)
    session.output.text(f"memory    {footprints}")
    if plan.loras:
        session.output.text(f"LoRAs     {', '.join(f'{lora.name} at {lora.weight:g}' for lora in plan.loras)}")
    session.output.table(
        ("stage", "steps", "forwards"),
        [(stage.name, str(stage.steps), str(stage.forwards)) for stage in plan.stages],
    )
    session.output.table(
        ("chunk", "computed frames", "new frames", "first frame"),
        [
            (str(number), str(chunk.model_frames), str(chunk.new_frames), str(chunk.first_frame))
            for number, chunk in enumerate(plan.chunks, 1)
        ],
    )
    for notice in plan.notices:
        session.output.note(f"note: {notice.text} [{notice.code}]")
