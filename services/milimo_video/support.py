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
    if plan.pipeline is not Pipeline.TI2VID:
        raise Unimplemented(f"the {plan.pipeline} pipeline")
    if plan.chained:
        raise Unimplemented("chained video")
    if any(condition.kind == "video" or condition.frame_index != 0 for condition in request.conditions):
        raise Unimplemented("conditions at other frames than the first")
    if plan.checkpoint == "dev":
        raise Unimplemented("the dev checkpoint, whose second stage needs the distilled LoRA")
    if request.loras:
        raise Unimplemented("LoRAs")
