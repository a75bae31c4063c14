"""`milimo script`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milimo.cli_output import as_document, word
from milimo.cli_project import find_project
from milimo.cli_session import AddressOption, JsonOption, ProjectOption, Session, open_session
from milimo.cli_words import ScriptModeWord, script_mode_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milimo.v1.storyboard_pb2 import ParsedScene

app = typer.Typer(no_args_is_help=True, help="Read scripts.")


@app.callback()
def script() -> None:
    """Read scripts."""


@app.command("parse")
def parse(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The script, or - for standard input.")],
    mode: Annotated[ScriptModeWord, typer.Option(help="How to read it; auto looks at the text.")] = ScriptModeWord.AUTO,
    ai: Annotated[bool, typer.Option("--ai", help="Let the language model read it.")] = False,
    project: ProjectOption = None,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Split a script into scenes and shots. Stores nothing; with --project the shots name its elements."""
    from milimo.v1.storyboard_pb2 import AiParseScriptRequest, ParseScriptRequest, ScriptMode

    with open_session(address, json) as session:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise typer.BadParameter(f"{file} is no UTF-8 text: {error}", param_hint="FILE") from error
        if ai:
            by_model = session.client.storyboard.AiParseScript(
                AiParseScriptRequest(project_id=find_project(session, project), script=text)
            )
            session.output.document(as_document(by_model))
            why = f": {by_model.fallback_reason}" if by_model.fallback_reason else ""
            session.output.note(f"read by {by_model.parser}{why}")
            _show(session, by_model.scenes)
            return
        project_id = find_project(session, project) if project else ""
        answer = session.client.storyboard.ParseScript(
            ParseScriptRequest(script=text, mode=script_mode_of(mode), project_id=project_id)
        )
        session.output.document(as_document(answer))
        session.output.note(f"read as {word(ScriptMode.Name(answer.mode), 'SCRIPT_MODE_')}: {answer.reason}")
        _show(session, answer.scenes)


def _show(session: Session, scenes: Sequence[ParsedScene]) -> None:
    from milimo.v1.storyboard_pb2 import ShotType

    session.output.table(
        ("scene", "shot", "type", "action", "character", "dialogue"),
        [
            (
                scene.heading if index == 1 else "",
                f"{number}.{index}",
                word(ShotType.Name(shot.shot_type), "SHOT_TYPE_"),
                shot.action,
                shot.character,
                shot.dialogue,
            )
            for number, scene in enumerate(scenes, 1)
            for index, shot in enumerate(scene.shots, 1)
        ],
    )
