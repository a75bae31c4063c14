"""What can be planned but not made yet, refused before a job is taken in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo_runtime.errors import Unimplemented

from milimo_video.choice import Pipeline

if TYPE_CHECKING:
    from milimo_video.plan import VideoPlan
    from milimo_video.request import VideoRequest


def require_supported(request: VideoRequest, plan: VideoPlan) -> None:
    """Raises Unimplemented for a request whose plan cannot be carried out yet."""
    if plan.pipeline not in (Pipeline.TI2VID, Pipeline.KEYFRAME):
        raise Unimplemented(f"the {plan.pipeline} pipeline")
    if any(condition.kind == "video" for condition in request.conditions):
        raise Unimplemented("video conditions")
    if plan.checkpoint == "dev":
        raise Unimplemented("the dev checkpoint, whose second stage needs the distilled LoRA")
    if request.loras:
        raise Unimplemented("LoRAs")
