"""A video request as a job keeps it: JSON with every default filled in, and the setting that its steps follow from."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Final

from milimo_video import limits
from milimo_video.request import Condition, Extension, Handoff, Lora, PipelineOverride, Retake, VideoRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHUNK_FRAMES: Final = "chunk_frames"
_FIELDS: Final = frozenset(field.name for field in fields(VideoRequest))


def to_json(request: VideoRequest, *, chunk_frames: int) -> dict[str, Any]:
    """The request as JSON. `chunk_frames` is kept with it: a job has the same steps also after it was set anew."""
    return {
        **asdict(request),
        "pipeline_override": request.pipeline_override.value,
        "handoff": request.handoff.value,
        "conditions": [asdict(condition) for condition in request.conditions],
        "loras": [asdict(lora) for lora in request.loras],
        "chunk_prompts": list(request.chunk_prompts),
        _CHUNK_FRAMES: chunk_frames,
    }


def from_json(value: Mapping[str, Any]) -> VideoRequest:
    """The request that `to_json` made this of."""
    return VideoRequest(
        **{
            **{name: item for name, item in value.items() if name in _FIELDS},
            "pipeline_override": PipelineOverride(value["pipeline_override"]),
            "handoff": Handoff(value.get("handoff", Handoff.REENCODE)),
            "conditions": tuple(Condition(**condition) for condition in value["conditions"]),
            "loras": tuple(Lora(**lora) for lora in value["loras"]),
            "chunk_prompts": tuple(value.get("chunk_prompts", ())),
            "extension": Extension(**value["extension"]) if value.get("extension") else None,
            "retake": Retake(**value["retake"]) if value.get("retake") else None,
        }
    )


def chunk_frames(value: Mapping[str, Any]) -> int:
    """The longest pass of the model that the job was planned with."""
    return int(value.get(_CHUNK_FRAMES, limits.CHUNK_FRAMES))
