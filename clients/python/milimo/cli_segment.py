"""`milimo segment`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from milimo.cli_output import as_document
from milimo.cli_project import as_asset, find_project, require_id
from milimo.cli_results import check_out
from milimo.cli_session import AddressOption, JsonOption, ProjectOption, Session, open_session
from milimo.cli_shapes import BoxesOption, PointsOption, parse_box, parse_point

if TYPE_CHECKING:
    from milimo.v1.common_pb2 import ImageSource
    from milimo.v1.segmentation_pb2 import Mask

# Larger images are uploaded first.
INLINE_BYTES: Final = 3 * 1024 * 1024


def _source(session: Session, image: str, project: str | None) -> ImageSource:
    from milimo.v1.common_pb2 import ImageSource

    path = Path(image)
    if not path.is_file():
        require_id(image)
        return ImageSource(asset_id=image)
    if path.stat().st_size <= INLINE_BYTES:
        return ImageSource(content=path.read_bytes())
    return ImageSource(asset_id=as_asset(session, image, project_id=find_project(session, project)))


def segment(
    image: Annotated[str, typer.Argument(metavar="FILE|ASSET", help="The image.")],
    point: PointsOption = None,
    box: BoxesOption = None,
    text: Annotated[str | None, typer.Option(help='What to find, such as "the red car".')] = None,
    confidence: Annotated[float | None, typer.Option(help="With --text: 0 to 1. Default 0.5.")] = None,
    out: Annotated[Path | None, typer.Option(help="PNG of the mask. Default: the image's name with -mask.png.")] = None,
    project: ProjectOption = None,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Find what clicks, a box, or a text select, and write its mask: white on the object, black elsewhere."""
    from milimo.v1.segmentation_pb2 import PredictMaskRequest, SegmentTextRequest

    if bool(text) == bool(point or box):
        raise typer.BadParameter("give either --text, or --point and --box", param_hint="--text")
    points, boxes = [parse_point(item) for item in point or ()], [parse_box(item) for item in box or ()]
    path = out or Path(f"{Path(image).stem}-mask.png")
    check_out(path)
    with open_session(address, json) as session:
        source = _source(session, image, project)
        if text:
            answer = session.client.segmentation.SegmentText(
                SegmentTextRequest(image=source, text=text, confidence=confidence)
            )
            mask, instances = answer.merged, list(answer.instances)
        else:
            request = PredictMaskRequest(image=source, points=points, boxes=boxes)
            instances = list(session.client.segmentation.PredictMask(request).masks)
            mask = instances[0]
        path.write_bytes(mask.png)
        session.output.document({"file": str(path), "mask": _figures(mask), "instances": [*map(_figures, instances)]})
        found = f"{len(instances)} found, " if text else ""
        session.output.note(f"{found}{mask.area} pixels, score {mask.score:.2f}")
        session.output.text(str(path))


def _figures(mask: Mask) -> dict[str, object]:
    """The mask without its picture, which is in the file."""
    document = as_document(mask)
    document.pop("png", None)
    return document
