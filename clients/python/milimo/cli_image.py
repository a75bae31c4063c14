"""`milimo image`."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milimo.cli_project import as_asset, find_element, find_project
from milimo.cli_results import check_out, finish
from milimo.cli_session import AddressOption, JsonOption, ProjectOption, open_session
from milimo.cli_shapes import (
    BoxesOption,
    OutpaintOption,
    PointsOption,
    parse_box,
    parse_outpaint,
    parse_point,
)
from milimo.cli_words import PriorityWord, ReferenceModeWord, priority_of, reference_mode_of

if TYPE_CHECKING:
    from milimo.v1 import image_pb2

GuidanceOption = Annotated[
    float | None, typer.Option(help="Against an empty prompt, 1 to 20. Default: the checkpoint's.")
]
CfgOption = Annotated[float | None, typer.Option(help="Turns true guidance on, at this scale, 1 to 5.")]
NegativeOption = Annotated[str, typer.Option("--negative-prompt", "--negative", help="What not to show; needs --cfg.")]
ReferenceOption = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE|ASSET", help="Take subject and style from this image. Repeatable."),
]
ReferenceModeOption = Annotated[ReferenceModeWord, typer.Option(help="How references act.")]
AutoencoderOption = Annotated[
    bool | None, typer.Option("--native-ae/--diffusers-ae", help="Which autoencoder. Default: the native one.")
]
ElementOption = Annotated[
    list[str] | None,
    typer.Option(metavar="ELEMENT", help="Show this element, by id, trigger or name. Repeatable."),
]

app = typer.Typer(no_args_is_help=True, help="Make and repaint images.")


def format_of(out: Path | None) -> image_pb2.ImageFormat.ValueType:
    """The file format that the result's name asks for; unspecified without one.

    Raises:
        typer.BadParameter: when no image is written under such a name.
    """
    from milimo.v1 import image_pb2

    suffix = "" if out is None or out.is_dir() else out.suffix.lower()
    formats = {
        "": image_pb2.IMAGE_FORMAT_UNSPECIFIED,
        ".png": image_pb2.IMAGE_FORMAT_PNG,
        ".jpg": image_pb2.IMAGE_FORMAT_JPEG,
        ".jpeg": image_pb2.IMAGE_FORMAT_JPEG,
    }
    if suffix not in formats:
        raise typer.BadParameter(f"{out} is neither .png nor .jpg", param_hint="--out")
    return formats[suffix]


@app.command("generate")
def generate(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to show.")],
    project: ProjectOption = None,
    width: Annotated[int | None, typer.Option(help="Pixels. Default: the model's own.")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels. Default: the model's own.")] = None,
    count: Annotated[int | None, typer.Option(help="How many, 1 to 16. Default 1.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the first image. Default: random.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps. Default: the checkpoint's.")] = None,
    guidance: GuidanceOption = None,
    cfg: CfgOption = None,
    negative: NegativeOption = "",
    reference: ReferenceOption = None,
    reference_mode: ReferenceModeOption = ReferenceModeWord.AUTO,
    native_ae: AutoencoderOption = None,
    element: ElementOption = None,
    enhance: Annotated[
        bool | None, typer.Option("--enhance/--no-enhance", help="Let the language model enrich the prompt.")
    ] = None,
    priority: Annotated[PriorityWord, typer.Option(help="Order among waiting jobs.")] = PriorityWord.NORMAL,
    out: Annotated[
        Path | None, typer.Option(help="File (.jpg or .png) or folder of the result. Default: here.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait, or print the job's id.")] = True,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Make images from a prompt and from references."""
    from milimo.v1.image_pb2 import ImageParameters, SubmitImageRequest

    check_out(out)
    image_format = format_of(out)
    with open_session(address, json) as session:
        project_id = find_project(session, project)
        image = ImageParameters(
            prompt=prompt,
            negative_prompt=negative,
            seed=seed,
            width=width,
            height=height,
            count=count,
            steps=steps,
            guidance=guidance,
            enable_true_cfg=cfg is not None,
            cfg_scale=cfg,
            reference_asset_ids=[as_asset(session, text, project_id=project_id) for text in reference or ()],
            reference_mode=reference_mode_of(reference_mode),
            element_ids=[find_element(session, text, project_id=project_id).id for text in element or ()],
            enable_ae=native_ae,
            enhance_prompt=enhance,
            format=image_format,
            priority=priority_of(priority),
        )
        request = SubmitImageRequest(project_id=project_id, image=image, request_id=str(uuid.uuid4()))
        finish(session, session.client.images.SubmitImage(request).job, out=out, wait=wait, title="image")


@app.command("inpaint")
def inpaint(
    image: Annotated[str, typer.Argument(metavar="FILE|ASSET", help="The image to repaint.")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What the masked part should show.")],
    project: ProjectOption = None,
    mask: Annotated[str | None, typer.Option(metavar="FILE|ASSET", help="White is repainted.")] = None,
    text: Annotated[str | None, typer.Option(help="Repaint everything that this text finds.")] = None,
    point: PointsOption = None,
    box: BoxesOption = None,
    strength: Annotated[float | None, typer.Option(help="How much is new, above 0 to 1. Default 1.")] = None,
    feather: Annotated[int | None, typer.Option(help="Soft edge inside the mask, in pixels. Default 8.")] = None,
    padding: Annotated[
        int | None, typer.Option(help="Work on the mask's surroundings only, so many pixels. Default: the whole image.")
    ] = None,
    outpaint: OutpaintOption = None,
    seed: Annotated[int | None, typer.Option(help="Default: random.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps. Default: the checkpoint's.")] = None,
    guidance: GuidanceOption = None,
    cfg: CfgOption = None,
    negative: NegativeOption = "",
    reference: ReferenceOption = None,
    reference_mode: ReferenceModeOption = ReferenceModeWord.AUTO,
    native_ae: AutoencoderOption = None,
    element: ElementOption = None,
    priority: Annotated[PriorityWord, typer.Option(help="Order among waiting jobs.")] = PriorityWord.NORMAL,
    out: Annotated[
        Path | None, typer.Option(help="File (.png or .jpg) or folder of the result. Default: here.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait, or print the job's id.")] = True,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Repaint what a mask, a text, or clicks select, or paint around the image; everything else stays as it is."""
    from milimo.v1.image_pb2 import InpaintParameters, MaskPrompt, SubmitInpaintRequest

    clicks = bool(point or box)
    given = (mask is not None) + (text is not None) + clicks
    if given > 1 or (given == 0 and outpaint is None):
        raise typer.BadParameter("give one of --mask, --text, or --point and --box, or --outpaint", param_hint="--mask")
    check_out(out)
    image_format = format_of(out)
    grown = None if outpaint is None else parse_outpaint(outpaint)
    points, boxes = [parse_point(item) for item in point or ()], [parse_box(item) for item in box or ()]
    with open_session(address, json) as session:
        project_id = find_project(session, project)
        parameters = InpaintParameters(
            asset_id=as_asset(session, image, project_id=project_id),
            prompt=prompt,
            negative_prompt=negative,
            seed=seed,
            steps=steps,
            guidance=guidance,
            enable_true_cfg=cfg is not None,
            cfg_scale=cfg,
            strength=strength,
            feather=feather,
            crop_padding=padding,
            outpaint=grown,
            reference_asset_ids=[as_asset(session, each, project_id=project_id) for each in reference or ()],
            reference_mode=reference_mode_of(reference_mode),
            element_ids=[find_element(session, each, project_id=project_id).id for each in element or ()],
            enable_ae=native_ae,
            format=image_format,
            priority=priority_of(priority),
        )
        # One of the three at most, as was checked above.
        if mask is not None:
            parameters.mask_asset_id = as_asset(session, mask, project_id=project_id)
        elif text is not None:
            parameters.mask_text = text
        elif clicks:
            parameters.mask_prompt.CopyFrom(MaskPrompt(points=points, boxes=boxes))
        request = SubmitInpaintRequest(project_id=project_id, inpaint=parameters, request_id=str(uuid.uuid4()))
        finish(session, session.client.images.SubmitInpaint(request).job, out=out, wait=wait, title="inpaint")


@app.command("info")
def info(
    image: Annotated[Path, typer.Argument(metavar="FILE", help="A JPEG or PNG.")],
    json: JsonOption = False,
) -> None:
    """Show what an image was made from: the prompt and the parameters that its file carries."""
    from milimo.cli_errors import FAILED, NOT_FOUND
    from milimo.cli_output import Output
    from milimo.image_info import read_image_info

    output = Output(json=json)
    try:
        found = read_image_info(image)
    except OSError as error:
        output.note(f"{image}: {error.strerror}")
        raise typer.Exit(NOT_FOUND) from error
    if found is None:
        output.note(f"{image} says nothing of its making")
        raise typer.Exit(FAILED)
    output.document({"prompt": found.prompt, "parameters": dict(found.parameters)})
    output.table(("name", "value"), [("prompt", found.prompt), *((n, str(v)) for n, v in found.parameters.items())])
