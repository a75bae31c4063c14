"""`milimo elements`."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milimo.cli_output import as_document, word
from milimo.cli_project import all_elements, as_asset, find_element, find_project
from milimo.cli_results import check_out, finish
from milimo.cli_session import AddressOption, JsonOption, ProjectOption, open_session
from milimo.cli_words import ElementTypeWord, element_type_of

if TYPE_CHECKING:
    from milimo.v1.common_pb2 import Lora
    from milimo.v1.elements_pb2 import Element

app = typer.Typer(no_args_is_help=True, help="Recurring characters, locations and objects, which prompts name.")

ElementArgument = Annotated[str, typer.Argument(metavar="ELEMENT", help="Id, trigger word or name.")]
DescriptionOption = Annotated[str | None, typer.Option(help="What it looks like.")]
TriggerOption = Annotated[
    str | None, typer.Option(help='How prompts name it. Default: "@" and the name without spaces.')
]
LoraOption = Annotated[str | None, typer.Option(help="A LoRA of the registry that was trained on it.")]
WeightOption = Annotated[float | None, typer.Option(help="Strength of the LoRA, -2 to 2. Default 1.")]


@app.command("list")
def list_elements(project: ProjectOption = None, address: AddressOption = None, json: JsonOption = False) -> None:
    """List a project's elements, the oldest first."""
    with open_session(address, json) as session:
        elements = list(all_elements(session, find_project(session, project)))
        session.output.document({"elements": [as_document(element) for element in elements]})
        session.output.table(
            ("id", "type", "trigger", "name", "images", "description"),
            [
                (
                    element.id,
                    _type(element),
                    element.trigger_word,
                    element.name,
                    str(len(element.image_asset_ids) or ""),
                    " ".join(element.description.split())[:60],
                )
                for element in elements
            ],
        )


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Prompts may name it so, too.")],
    type_: Annotated[ElementTypeWord, typer.Option("--type", help="What it is.")],
    project: ProjectOption = None,
    trigger: TriggerOption = None,
    description: DescriptionOption = None,
    image: Annotated[
        list[str] | None, typer.Option(metavar="FILE|ASSET", help="Shows it; the best first. Repeatable.")
    ] = None,
    lora: LoraOption = None,
    lora_weight: WeightOption = None,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Create an element and print its id."""
    from milimo.v1.elements_pb2 import CreateElementRequest, Element

    with open_session(address, json) as session:
        project_id = find_project(session, project)
        element = Element(
            name=name,
            type=element_type_of(type_),
            trigger_word=trigger or "",
            description=description or "",
            image_asset_ids=[as_asset(session, text, project_id=project_id) for text in image or ()],
            lora=_lora(lora, lora_weight),
        )
        request = CreateElementRequest(project_id=project_id, element=element, request_id=str(uuid.uuid4()))
        made = session.client.elements.CreateElement(request).element
        session.output.document({"element": as_document(made)})
        session.output.text(made.id)


@app.command("show")
def show(
    element: ElementArgument, project: ProjectOption = None, address: AddressOption = None, json: JsonOption = False
) -> None:
    """Show an element."""
    with open_session(address, json) as session:
        found = find_element(session, element, project_id=find_project(session, project))
        session.output.document({"element": as_document(found)})
        lora = f"{found.lora.name}{f' × {found.lora.weight:g}' if found.lora.HasField('weight') else ''}"
        rows = [
            ("id", found.id),
            ("project", found.project_id),
            ("name", found.name),
            ("type", _type(found)),
            ("trigger", found.trigger_word),
            ("description", found.description),
            *(("image", image) for image in found.image_asset_ids),
            ("lora", lora),
        ]
        session.output.table(("field", "value"), [row for row in rows if row[1]])


@app.command("update")
def update(
    element: ElementArgument,
    project: ProjectOption = None,
    name: Annotated[str | None, typer.Option(help="The new name; the trigger stays.")] = None,
    type_: Annotated[ElementTypeWord | None, typer.Option("--type", help="What it is.")] = None,
    trigger: TriggerOption = None,
    description: DescriptionOption = None,
    image: Annotated[
        list[str] | None, typer.Option(metavar="FILE|ASSET", help="Instead of its images. Repeatable.")
    ] = None,
    add_image: Annotated[
        list[str] | None, typer.Option(metavar="FILE|ASSET", help="Behind its images. Repeatable.")
    ] = None,
    lora: LoraOption = None,
    lora_weight: WeightOption = None,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Change what is given of an element. An empty text, or `--image ""`, takes away what was there."""
    from milimo.v1.elements_pb2 import Element, UpdateElementRequest

    with open_session(address, json) as session:
        found = find_element(session, element, project_id=find_project(session, project))
        changed = Element(id=found.id, type=element_type_of(type_))
        texts = {"name": name, "trigger_word": trigger, "description": description}
        mask = [field for field, text in texts.items() if text is not None]
        for field in mask:
            setattr(changed, field, texts[field])
        if type_ is not None:
            mask.append("type")
        if image is not None or add_image is not None:
            files = [text for text in (*(image or ()), *(add_image or ())) if text]
            changed.image_asset_ids.extend(() if image is not None else found.image_asset_ids)
            changed.image_asset_ids.extend(as_asset(session, text, project_id=found.project_id) for text in files)
            mask.append("image_asset_ids")
        if lora is not None:
            changed.MergeFrom(Element(lora=_lora(lora, lora_weight)))
            mask.append("lora")
        if not mask:
            raise typer.BadParameter("nothing to change: give an option", param_hint="OPTIONS")
        request = UpdateElementRequest(element=changed, request_id=str(uuid.uuid4()))
        request.update_mask.paths.extend(mask)
        made = session.client.elements.UpdateElement(request).element
        session.output.document({"element": as_document(made)})
        session.output.note(f"changed {made.id}")


@app.command("delete")
def delete(
    element: ElementArgument,
    project: ProjectOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Delete an element; its images stay."""
    from milimo.v1.elements_pb2 import DeleteElementRequest

    with open_session(address, json) as session:
        found = find_element(session, element, project_id=find_project(session, project))
        if not yes:
            if not sys.stdin.isatty():
                raise typer.BadParameter("nobody can be asked here: say --yes", param_hint="--yes")
            typer.confirm(f"Delete the element {found.name}?", abort=True, err=True)
        request = DeleteElementRequest(element_id=found.id, request_id=str(uuid.uuid4()))
        session.client.elements.DeleteElement(request)
        session.output.document({"deleted": found.id})
        session.output.note(f"deleted {found.id}")


@app.command("visual")
def visual(
    element: ElementArgument,
    project: ProjectOption = None,
    seed: Annotated[int | None, typer.Option(help="Default: random.")] = None,
    out: Annotated[Path | None, typer.Option(help="File (.jpg) or folder of the picture. Default: here.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait, or print the job's id.")] = True,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Make a picture of an element from its description, and add it to its images."""
    from milimo.v1.elements_pb2 import SubmitElementVisualRequest

    check_out(out)
    with open_session(address, json) as session:
        found = find_element(session, element, project_id=find_project(session, project))
        request = SubmitElementVisualRequest(element_id=found.id, seed=seed, request_id=str(uuid.uuid4()))
        job = session.client.elements.SubmitElementVisual(request).job
        finish(session, job, out=out, wait=wait, title=found.name)


def _type(element: Element) -> str:
    from milimo.v1.elements_pb2 import ElementType

    return word(ElementType.Name(element.type), "ELEMENT_TYPE_")


def _lora(name: str | None, weight: float | None) -> Lora | None:
    """The LoRA that the options name.

    Raises:
        typer.BadParameter: a weight without a LoRA.
    """
    from milimo.v1.common_pb2 import Lora

    if name:
        return Lora(name=name, weight=weight)
    if weight is not None:
        raise typer.BadParameter("needs --lora", param_hint="--lora-weight")
    return None
