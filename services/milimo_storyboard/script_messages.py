"""Parsed scripts as messages of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from milimo.v1 import storyboard_pb2

from milimo_storyboard.parsed_script import KeptKind, ScriptMode, ShotType

if TYPE_CHECKING:
    from milimo_storyboard.parsed_script import KeptText, ParsedScene, ParsedScript, ParsedShot

MODES: Final = {mode: storyboard_pb2.ScriptMode.Value(f"SCRIPT_MODE_{mode.name}") for mode in ScriptMode}
MODE_OF: Final = {number: mode for mode, number in MODES.items()} | {
    storyboard_pb2.SCRIPT_MODE_UNSPECIFIED: ScriptMode.AUTO
}
SHOT_TYPES: Final = {kind: storyboard_pb2.ShotType.Value(f"SHOT_TYPE_{kind.name}") for kind in ShotType}
KEPT_KINDS: Final = {kind: storyboard_pb2.KeptKind.Value(f"KEPT_KIND_{kind.name}") for kind in KeptKind}


def script_message(script: ParsedScript) -> storyboard_pb2.ParseScriptResponse:
    """The answer to ParseScript."""
    return storyboard_pb2.ParseScriptResponse(
        scenes=(_scene(scene, with_content=script.final_draft) for scene in script.scenes),
        mode=MODES[script.mode],
        reason=script.reason,
        kept=map(_kept, script.kept),
        final_draft=script.final_draft,
    )


def _scene(scene: ParsedScene, *, with_content: bool) -> storyboard_pb2.ParsedScene:
    return storyboard_pb2.ParsedScene(
        heading=scene.heading,
        source=_span(scene),
        shots=map(_shot, scene.shots),
        kept=map(_kept, scene.kept),
        number=scene.number,
        # Of a text the caller has it, at the offsets; out of Final Draft's XML nobody wants to read it again.
        content=scene.content if with_content else "",
    )


def _shot(shot: ParsedShot) -> storyboard_pb2.ParsedShot:
    return storyboard_pb2.ParsedShot(
        action=shot.action,
        dialogue=shot.dialogue,
        character=shot.character,
        shot_type=SHOT_TYPES[shot.shot_type],
        source=_span(shot),
        dual=shot.dual,
        label=shot.label,
    )


def _kept(kept: KeptText) -> storyboard_pb2.KeptText:
    return storyboard_pb2.KeptText(kind=KEPT_KINDS[kept.kind], text=kept.text, source=_span(kept))


def _span(part: ParsedScene | ParsedShot | KeptText) -> storyboard_pb2.SourceSpan:
    return storyboard_pb2.SourceSpan(start=part.start, end=part.end)
