"""What the user should know of a plan before its job starts: what is rounded, trimmed, or has no effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from milimo_video import limits
from milimo_video.geometry import TWO_STAGE_MULTIPLE
from milimo_video.request import Handoff

if TYPE_CHECKING:
    from collections.abc import Iterable

    from milimo_video.chunk import ChunkCondition
    from milimo_video.place import Place
    from milimo_video.request import Checkpoint, VideoRequest


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something that the user should know before the job starts. `code` is UPPER_SNAKE_CASE."""

    code: str
    text: str


NO_PROVIDER: Final = Notice(
    code="PROMPT_PROVIDER_NONE", text="nobody is set who could enrich the prompt: it stays as it is"
)


def plan_notices(
    request: VideoRequest,
    checkpoint: Checkpoint,
    place: Place,
    placed: Iterable[ChunkCondition],
    *,
    size: tuple[int, int],
) -> list[Notice]:
    """Notices on a request that is made at `size`, in `place`, with its conditions `placed` in their chunks."""
    width, height = size
    spans = place.spans
    notices = []
    if (width, height) != (request.width, request.height):
        notices.append(
            Notice(
                code="SIZE_ROUNDED",
                text=f"makes {width} × {height}, multiples of {TWO_STAGE_MULTIPLE}, "
                f"and crops to {request.width} × {request.height}",
            )
        )
    last = spans[-1]
    made = last.frames - last.overlap
    if made != last.kept and request.retake is None:
        total = last.start + made
        notices.append(
            Notice(
                code="FRAMES_ROUNDED",
                text=f"rounds {request.num_frames} frames up to {total}, the next length that the model can make, "
                "and trims",
            )
        )
    notices.extend(_footage_notices(request, placed))
    unused = len(request.chunk_prompts) - (len(spans) - 1)
    if unused > 0:
        notices.append(
            Notice(
                code="CHUNK_PROMPTS_IGNORED",
                text=f"the video has {len(spans) - 1} further chunks: the last {unused} of "
                f"{len(request.chunk_prompts)} chunk prompts have no effect",
            )
        )
    if checkpoint == "distilled" and request.negative_prompt:
        notices.append(
            Notice(
                code="NEGATIVE_PROMPT_IGNORED",
                text="the distilled checkpoint runs without guidance: the negative prompt has no effect",
            )
        )
    if checkpoint == "distilled" and request.steps not in (None, limits.DISTILLED_STEPS):
        notices.append(
            Notice(
                code="STEPS_IGNORED",
                text=f"the distilled checkpoint runs {limits.DISTILLED_STEPS} steps, not {request.steps}",
            )
        )
    if checkpoint == "distilled" and request.cfg_scale not in (None, 1.0):
        notices.append(
            Notice(
                code="GUIDANCE_IGNORED",
                text="the distilled checkpoint runs without guidance: the guidance scale has no effect",
            )
        )
    return notices


def _footage_notices(request: VideoRequest, placed: Iterable[ChunkCondition]) -> list[Notice]:
    notices = []
    used = {condition.index: condition.read_from + condition.frames for condition in placed}
    for index, frames in used.items():
        lasts = request.conditions[index].frames
        if frames < lasts:
            text = f"conditions[{index}]: the first {frames} of its {lasts} frames are used, 8k + 1 in each chunk"
            notices.append(Notice(code="CONDITION_TRIMMED", text=text))
    if request.extension is not None and request.handoff is Handoff.LATENT:
        notices.append(
            Notice(code="HANDOFF_REENCODED", text="a video has no latents: its last frames are encoded again")
        )
    return notices
