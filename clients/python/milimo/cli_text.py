"""`milimo text`."""

from __future__ import annotations

import json as json_format
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from milimo.cli_output import as_document
from milimo.cli_project import require_id
from milimo.cli_session import JsonOption, open_session
from milimo.endpoint import VIDEO_ADDRESS, local_process_address

if TYPE_CHECKING:
    from milimo.v1.common_pb2 import ImageSource

# A video in the making is waited for.
_PATIENCE_SECONDS: Final = 3600.0

VideoAddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="MILIMO_VIDEO_ADDRESS",
        help=f"The video process, host:port. Default: what `milimo up` started here, else {VIDEO_ADDRESS}.",
    ),
]


def text(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What the model answers.")],
    system: Annotated[str | None, typer.Option(help="What it should know before.")] = None,
    image: Annotated[
        str | None, typer.Option(metavar="FILE|ASSET", help="Shown to the model; a file of at most 3 MiB.")
    ] = None,
    json_schema: Annotated[Path | None, typer.Option(help="File with the JSON schema that the answer fits.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Default 512.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 to 2; 0 is greedy. Default 0.7.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Above 0 to 1. Default 0.9.")] = None,
    seed: Annotated[int | None, typer.Option(help="Default: random.")] = None,
    address: VideoAddressOption = None,
    json: JsonOption = False,
) -> None:
    """Let the video model's text encoder write. Speaks to the video process: the gateway does not lead there."""
    from milimo.v1.text_pb2 import CHAT_ROLE_SYSTEM, CHAT_ROLE_USER, ChatMessage, GenerateTextRequest

    address = address or local_process_address(os.environ, "video", VIDEO_ADDRESS)
    with open_session(address, json) as session:
        messages = [ChatMessage(role=CHAT_ROLE_SYSTEM, text=system)] if system else []
        request = GenerateTextRequest(
            messages=[*messages, ChatMessage(role=CHAT_ROLE_USER, text=prompt)],
            image=_source(image) if image else None,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
        )
        if json_schema is not None:
            request.json_schema.update(_schema(json_schema))
        answer = session.client.texts.GenerateText(request, timeout=_PATIENCE_SECONDS)
        session.output.document(as_document(answer))
        session.output.text(answer.text)
        if answer.truncated:
            session.output.note(f"cut off after {answer.new_tokens} tokens: --max-new-tokens allows more")


def _schema(path: Path) -> dict[str, Any]:
    try:
        schema = json_format.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise typer.BadParameter(f"{path} is no JSON: {error}", param_hint="--json-schema") from error
    if not isinstance(schema, dict):
        raise typer.BadParameter(f"{path} holds no object", param_hint="--json-schema")
    return schema


def _source(image: str) -> ImageSource:
    from milimo.cli_segment import INLINE_BYTES
    from milimo.v1.common_pb2 import ImageSource

    path = Path(image)
    if not path.is_file():
        require_id(image)
        return ImageSource(asset_id=image)
    if path.stat().st_size > INLINE_BYTES:
        raise typer.BadParameter(
            f"{path} is larger than 3 MiB: `milimo assets upload` stores it, and its id goes here", param_hint="--image"
        )
    return ImageSource(content=path.read_bytes())
