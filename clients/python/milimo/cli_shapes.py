"""Clicks, boxes and borders as options: "x,y", "x,y,0", "x0,y0,x1,y1" and "left,top,right,bottom"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from milimo.v1.common_pb2 import Box, Point
    from milimo.v1.image_pb2 import Outpaint

PointsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--point", metavar="X,Y[,0|1]", help="A click on the object, or with ,0 off it, in pixels. Repeatable."
    ),
]
BoxesOption = Annotated[
    list[str] | None, typer.Option("--box", metavar="X0,Y0,X1,Y1", help="A box around the object, in pixels.")
]


OutpaintOption = Annotated[
    str | None,
    typer.Option(
        "--outpaint",
        metavar="L,T,R,B",
        help="Enlarge the canvas by so many pixels left, top, right, bottom, and paint them.",
    ),
]


def _numbers(text: str, option: str, form: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not {form}", param_hint=option) from None


def parse_point(text: str) -> Point:
    """A click.

    Raises:
        typer.BadParameter: when it is none.
    """
    from milimo.v1.common_pb2 import Point

    form = "x,y or x,y,0 or x,y,1"
    numbers = _numbers(text, "--point", form)
    if len(numbers) == 2:
        return Point(x=numbers[0], y=numbers[1])
    if len(numbers) != 3 or numbers[2] not in (0, 1):
        raise typer.BadParameter(f"{text!r} is not {form}", param_hint="--point")
    return Point(x=numbers[0], y=numbers[1], positive=numbers[2] == 1)


def parse_box(text: str) -> Box:
    """A box.

    Raises:
        typer.BadParameter: when it is none, or its corners are in the wrong order.
    """
    from milimo.v1.common_pb2 import Box

    numbers = _numbers(text, "--box", "x0,y0,x1,y1")
    if len(numbers) != 4 or numbers[0] >= numbers[2] or numbers[1] >= numbers[3]:
        raise typer.BadParameter(f"{text!r} is not x0,y0,x1,y1 with x0 < x1 and y0 < y1", param_hint="--box")
    return Box(x0=numbers[0], y0=numbers[1], x1=numbers[2], y1=numbers[3])


def parse_outpaint(text: str) -> Outpaint:
    """Pixels on each side.

    Raises:
        typer.BadParameter: when it is not four whole numbers, 0 or more.
    """
    from milimo.v1.image_pb2 import Outpaint

    form = "left,top,right,bottom in whole pixels, 0 or more"
    numbers = _numbers(text, "--outpaint", form)
    if len(numbers) != 4 or any(number < 0 or number != int(number) for number in numbers):
        raise typer.BadParameter(f"{text!r} is not {form}", param_hint="--outpaint")
    left, top, right, bottom = (int(number) for number in numbers)
    return Outpaint(left=left, top=top, right=right, bottom=bottom)
