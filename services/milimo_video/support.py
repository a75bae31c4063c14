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
    if plan.pipeline is Pipeline.IMAGE:
        raise Unimplemented(f"the {plan.pipeline} pipeline")
