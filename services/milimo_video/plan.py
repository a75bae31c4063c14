"""From a request to a plan: what will run, at which size, in which chunks and stages, and what the user should know.

Pure: no torch, no gRPC, no files. The plan is what a dry run answers, what execution follows, and what progress is
measured against.
"""

from __future__ import annotations

from dataclasses import dataclass

from milimo_runtime.errors import InvalidArgument

from milimo_video import limits, sigmas
from milimo_video.choice import Choice, Pipeline, choose_pipeline
from milimo_video.geometry import (
    AUDIO_SAMPLE_RATE,
    TWO_STAGE_MULTIPLE,
    Overlap,
    Span,
    align_overlap,
    audio_samples,
    chunk_spans,
    round_up,
    video_tokens,
)
from milimo_video.request import Checkpoint, VideoRequest
from milimo_video.stage_costs import Stage, chunk_stages, join_stage
from milimo_video.validation import resolve_frame, validate_request


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something that the user should know before the job starts. `code` is UPPER_SNAKE_CASE."""

    code: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ChunkCondition:
    """A condition of the request (`index` in `VideoRequest.conditions`), at a frame of its chunk."""

    index: int
    frame: int


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """One pass of the model: what it contributes, its seed, prompts, conditions and its tokens in both stages.

    `stage_prefix` stands before the names of its stages.
    """

    span: Span
    seed: int
    prompt: str
    negative_prompt: str
    stage_prefix: str
    conditions: tuple[ChunkCondition, ...]
    stage_1_tokens: int
    stage_2_tokens: int


@dataclass(frozen=True, kw_only=True)
class VideoPlan:
    """How a request will be made.

    `width`, `height`, `num_frames` and `fps` are the result's, exactly as asked; `model_width` and `model_height` are
    what the model makes, before cropping. Stages stand in the order in which they begin; the cost of a step is
    relative to that of other steps. An image has no chunks and no stages: another service makes it.
    """

    checkpoint: Checkpoint
    pipeline: Pipeline
    reason: str
    width: int
    height: int
    model_width: int
    model_height: int
    num_frames: int
    fps: int
    conditioning_fps: int
    audio_samples: int
    negative_prompt: str
    stage_1_steps: int
    stage_2_steps: int
    overlap: Overlap
    chunks: tuple[Chunk, ...]
    stages: tuple[Stage, ...]
    notices: tuple[Notice, ...]

    @property
    def chained(self) -> bool:
        """Whether the video is longer than one pass of the model."""
        return len(self.chunks) > 1

    @property
    def model_frames(self) -> int:
        """Frames that the model makes over all chunks, with overlaps and rounding."""
        return sum(chunk.span.frames for chunk in self.chunks)


def plan_video(
    request: VideoRequest,
    checkpoint: Checkpoint,
    *,
    chunk_frames: int = limits.CHUNK_FRAMES,
) -> VideoPlan:
    """The plan for a request.

    `chunk_frames` (8k + 1) is the longest pass of the model. Raises `InvalidArgument` for a request that is out of the
    limits or that contradicts itself.
    """
    validate_request(request, checkpoint)
    choice = choose_pipeline(request)
    overlap = _overlap(request, chunk_frames)
    if choice.pipeline is Pipeline.IMAGE:
        return _image_plan(request, checkpoint, choice, overlap)
    _refuse_doubled_images(request)

    width = round_up(request.width, TWO_STAGE_MULTIPLE)
    height = round_up(request.height, TWO_STAGE_MULTIPLE)
    spans = chunk_spans(request.num_frames, chunk_frames, overlap)
    chained = len(spans) > 1
    chunks = tuple(
        Chunk(
            span=span,
            seed=request.seed + span.index,
            prompt=_prompt_of(request, span.index),
            negative_prompt=_negative_prompt_of(request, span.index),
            stage_prefix=f"chunk_{span.index + 1}." if chained else "",
            conditions=placed,
            stage_1_tokens=_tokens(width // 2, height // 2, span, placed, choice),
            stage_2_tokens=_tokens(width, height, span, placed, choice),
        )
        for span in spans
        for placed in (_conditions_of(request, span),)
    )
    steps = _steps(request, checkpoint)
    reason = choice.reason
    if chained:
        reason += f"; {request.num_frames} frames are more than {chunk_frames}, so {len(chunks)} chunks are chained"
    return VideoPlan(
        checkpoint=checkpoint,
        pipeline=choice.pipeline,
        reason=reason,
        width=request.width,
        height=request.height,
        model_width=width,
        model_height=height,
        num_frames=request.num_frames,
        fps=request.fps,
        conditioning_fps=min(request.fps, limits.MAX_CONDITIONING_FPS),
        audio_samples=audio_samples(request.num_frames, request.fps, AUDIO_SAMPLE_RATE),
        negative_prompt=_negative_prompt(request),
        stage_1_steps=steps,
        stage_2_steps=len(sigmas.DISTILLED_STAGE_2),
        overlap=overlap,
        chunks=chunks,
        stages=tuple(
            stage
            for chunk in chunks
            for stage in chunk_stages(
                prefix=chunk.stage_prefix,
                stage_1_tokens=chunk.stage_1_tokens,
                stage_2_tokens=chunk.stage_2_tokens,
                stage_1_steps=steps,
                stage_2_steps=len(sigmas.DISTILLED_STAGE_2),
                guided=checkpoint == "dev",
                frames=chunk.span.frames,
                kept=chunk.span.kept,
                pixels=width * height,
            )
        )
        + ((join_stage(len(chunks), request.num_frames, width * height),) if chained else ()),
        notices=tuple(_notices(request, checkpoint, width, height, spans)),
    )


def _image_plan(request: VideoRequest, checkpoint: Checkpoint, choice: Choice, overlap: Overlap) -> VideoPlan:
    return VideoPlan(
        checkpoint=checkpoint,
        pipeline=choice.pipeline,
        reason=choice.reason,
        width=request.width,
        height=request.height,
        model_width=request.width,
        model_height=request.height,
        num_frames=1,
        fps=request.fps,
        conditioning_fps=request.fps,
        audio_samples=0,
        negative_prompt=_negative_prompt(request),
        stage_1_steps=0,
        stage_2_steps=0,
        overlap=overlap,
        chunks=(),
        stages=(),
        notices=(),
    )


def _overlap(request: VideoRequest, chunk_frames: int) -> Overlap:
    """As asked, else the default or what leaves room for new frames in shorter chunks."""
    asked = request.overlap_frames
    if asked is None:
        return align_overlap(max(1, min(limits.OVERLAP_FRAMES, chunk_frames - limits.MIN_NEW_FRAMES)))
    overlap = align_overlap(asked)
    if overlap.frames >= chunk_frames:
        raise InvalidArgument(
            "overlap_frames", f"{overlap.frames} on the latent grid leave nothing new in a chunk of {chunk_frames}"
        )
    return overlap


def _prompt_of(request: VideoRequest, chunk: int) -> str:
    given = request.chunk_prompts[chunk - 1] if 0 < chunk <= len(request.chunk_prompts) else ""
    return given if given.strip() else request.prompt


def _negative_prompt_of(request: VideoRequest, chunk: int) -> str:
    """That of the request; a further chunk adds the words against standing still that it lacks."""
    asked = _negative_prompt(request)
    if chunk == 0:
        return asked
    said = {phrase.strip().casefold() for phrase in asked.split(",")}
    lacking = [word for word in limits.CONTINUATION_NEGATIVE_WORDS if word not in said]
    return ", ".join([asked.rstrip().rstrip(","), *lacking] if asked.strip() else lacking)


def _negative_prompt(request: VideoRequest) -> str:
    return limits.DEFAULT_NEGATIVE_PROMPT if request.negative_prompt is None else request.negative_prompt


def _steps(request: VideoRequest, checkpoint: Checkpoint) -> int:
    if checkpoint == "distilled":
        return limits.DISTILLED_STEPS
    return limits.DEV_STEPS if request.steps is None else request.steps


def _refuse_doubled_images(request: VideoRequest) -> None:
    first_at: dict[int, int] = {}
    for i, condition in enumerate(request.conditions):
        if condition.kind != "image":
            continue
        frame = resolve_frame(condition.frame_index, request.num_frames)
        if frame in first_at:
            raise InvalidArgument(
                f"conditions[{i}].frame_index",
                f"frame {frame} already has the image of conditions[{first_at[frame]}]",
            )
        first_at[frame] = i


def _conditions_of(request: VideoRequest, span: Span) -> tuple[ChunkCondition, ...]:
    """Conditions whose frame lies in the kept part of the chunk, at the chunk's own frame numbers."""
    found = []
    for i, condition in enumerate(request.conditions):
        frame = resolve_frame(condition.frame_index, request.num_frames) - span.start
        if 0 <= frame < span.kept:
            found.append(ChunkCondition(index=i, frame=frame + span.overlap))
    return tuple(found)


def _tokens(width: int, height: int, span: Span, placed: tuple[ChunkCondition, ...], choice: Choice) -> int:
    """Tokens of a chunk's video, and those of the images that are appended to it."""
    first_replaces = choice.pipeline is not Pipeline.KEYFRAME
    appended = sum(not (first_replaces and condition.frame == 0) for condition in placed)
    return video_tokens(width, height, span.frames) + appended * video_tokens(width, height, 1)


def _notices(
    request: VideoRequest, checkpoint: Checkpoint, width: int, height: int, spans: tuple[Span, ...]
) -> list[Notice]:
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
    if made != last.kept:
        total = last.start + made
        notices.append(
            Notice(
                code="FRAMES_ROUNDED",
                text=f"rounds {request.num_frames} frames up to {total}, the next length that the model can make, "
                "and trims",
            )
        )
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
