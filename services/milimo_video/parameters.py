"""The parameters of a video as they stand in its file: enough to make it again.

They hold no time and no id, so that the same request gives the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from milimo_video.encode import read_tags

if TYPE_CHECKING:
    from pathlib import Path

    from milimo_video.plan import VideoPlan
    from milimo_video.request import VideoRequest

_SOFTWARE = "Milimo"


@dataclass(frozen=True, kw_only=True)
class VideoParameters:
    """What a video was made from."""

    prompt: str
    negative_prompt: str
    seed: int
    # All of them, as they stand in the file, prompt and seed included.
    values: dict[str, Any]


def to_values(request: VideoRequest, plan: VideoPlan, model: str) -> dict[str, Any]:
    """The parameters of the video that `model` makes of a request, as values that JSON knows."""
    chain: dict[str, Any] = {}
    if plan.chained:
        chain = {
            "chunk_frames": plan.chunks[0].span.frames,
            "overlap_frames": plan.overlap_frames,
            "handoff": request.handoff.value,
            "match_statistics": request.match_statistics,
            "chunk_prompts": list(request.chunk_prompts),
        }
    if request.upscale:
        chain["upscale"] = True
    if request.extension is not None:
        chain["continues_frames"] = request.extension.frames
    if request.retake is not None:
        chain["retake"] = [request.retake.first_frame, request.retake.last_frame]
    return {
        "software": _SOFTWARE,
        "model": model,
        "checkpoint": plan.checkpoint,
        "pipeline": str(plan.pipeline),
        "prompt": request.prompt,
        "negative_prompt": plan.negative_prompt,
        "seed": request.seed,
        "width": plan.width,
        "height": plan.height,
        "num_frames": plan.num_frames,
        "fps": plan.fps,
        "steps": plan.stage_1_steps,
        "conditions": [
            {"kind": condition.kind, "frame_index": condition.frame_index, "strength": condition.strength}
            for condition in request.conditions
        ],
        "loras": [{"name": lora.name, "weight": lora.weight} for lora in request.loras],
        **chain,
    }


def to_json(request: VideoRequest, plan: VideoPlan, model: str) -> str:
    """The parameters as one line of JSON with sorted keys."""
    values = to_values(request, plan, model)
    return json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def read_parameters(path: Path) -> VideoParameters | None:
    """The parameters in a video's file, or None when Milimo did not write it."""
    try:
        values = json.loads(read_tags(path).get("comment", ""))
    except json.JSONDecodeError:
        return None
    if not isinstance(values, dict) or values.get("software") != _SOFTWARE:
        return None
    return VideoParameters(
        prompt=values["prompt"], negative_prompt=values["negative_prompt"], seed=values["seed"], values=values
    )
