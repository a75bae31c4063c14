"""A video request as a job keeps it: JSON with every default filled in."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from milimo_video.request import Condition, Lora, PipelineOverride, VideoRequest

if TYPE_CHECKING:
    from collections.abc import Mapping


def to_json(request: VideoRequest) -> dict[str, Any]:
    """The request as JSON."""
    return {
        **asdict(request),
        "pipeline_override": request.pipeline_override.value,
        "conditions": [asdict(condition) for condition in request.conditions],
        "loras": [asdict(lora) for lora in request.loras],
    }


def from_json(value: Mapping[str, Any]) -> VideoRequest:
    """The request that `to_json` made this of."""
    return VideoRequest(
        **{
            **value,
            "pipeline_override": PipelineOverride(value["pipeline_override"]),
            "conditions": tuple(Condition(**condition) for condition in value["conditions"]),
            "loras": tuple(Lora(**lora) for lora in value["loras"]),
        }
    )
