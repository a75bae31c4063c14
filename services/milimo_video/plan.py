"""From a request to a plan: what will run, at which size, in which chunks and stages, and what the user should know.

Pure: no torch, no gRPC, no files. The plan is what a dry run answers, what execution follows, and what progress is
measured against.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from milimo_runtime.errors import InvalidArgument

from milimo_video import limits, sigmas
from milimo_video.choice import Choice, Pipeline, choose_pipeline
from milimo_video.chunk import Chunk, ChunkCondition
from milimo_video.geometry import (
    AUDIO_SAMPLE_RATE,
    SPATIAL_COMPRESSION,
    TWO_STAGE_MULTIPLE,
    Overlap,
    Span,
    align_overlap,
    audio_samples,
    model_frames,
    round_up,
    video_tokens,
    whole_latents,
)
from milimo_video.place import Place, place_in
from milimo_video.plan_notices import Notice, plan_notices
from milimo_video.reference_size import reference_tokens
from milimo_video.request import Checkpoint, VideoRequest
from milimo_video.stage_costs import Stage, chunk_stages, join_stage
from milimo_video.temporal import at_half_rate, doubled, halved
from milimo_video.validation import resolve_frame, validate_request


@dataclass(frozen=True, kw_only=True)
class VideoPlan:
    """How a request will be made.

    `width`, `height`, `num_frames` and `fps` are the result's, exactly as asked; `model_width` and `model_height` are
    what the model makes, before cropping. Chunks are counted in frames of the result, `overlap` in those of stage
    1: half as many with a temporal stage. Stages stand in the order in which they begin; the cost of a step is relative
    to that of other steps. An image has no chunks and no stages: another service makes it.
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
    # The frame of the result that is the first of the first chunk, and frames after the last that stay as they are and
    # that the last chunk leads to: both only with a retake.
    first_frame: int = 0
    trail: int = 0
    # Whether frames of another video go into it.
    from_footage: bool = False
    # Steps of the temporal stage, which doubles the frame rate; 0 without it.
    temporal_steps: int = 0

    @property
    def overlap_frames(self) -> int:
        """Frames of the result that neighbouring chunks share."""
        return doubled(self.overlap.frames) if self.temporal_steps else self.overlap.frames

    @property
    def chained(self) -> bool:
        """Whether it is made in chunks that are joined: more than one, or one that joins a video that exists."""
        return len(self.chunks) > 1 or self.from_footage

    @property
    def new_frames(self) -> int:
        """Frames that the chunks add."""
        return sum(chunk.span.kept for chunk in self.chunks)

    @property
    def model_frames(self) -> int:
        """Frames that the model makes over all chunks, with overlaps and rounding."""
        return sum(chunk.span.frames for chunk in self.chunks)


def plan_video(
    request: VideoRequest,
    checkpoint: Checkpoint,
    *,
    chunk_frames: int = limits.CHUNK_FRAMES,
    compression: int = SPATIAL_COMPRESSION,
) -> VideoPlan:
    """The plan for a request, of a checkpoint whose latents stand for `compression` pixels a side.

    `chunk_frames` (8k + 1) is the longest pass of the model; with a temporal stage, whose passes have 16k + 1 frames,
    it is rounded up to one of these. Raises `InvalidArgument` for a request that is out of the limits or that
    contradicts itself.
    """
    validate_request(request, checkpoint)
    choice = choose_pipeline(request)
    window = model_frames(halved(chunk_frames)) if request.upscale else chunk_frames
    overlap = _overlap(request, window)
    if choice.pipeline is Pipeline.IMAGE:
        return _image_plan(request, checkpoint, choice, overlap)
    _refuse_doubled_conditions(request, choice.pipeline)

    multiple = TWO_STAGE_MULTIPLE
    if choice.pipeline is Pipeline.IC_LORA:
        # References are so much smaller, and on the grid too.
        multiple *= request.reference_scales[0]
    width = round_up(request.width, multiple)
    height = round_up(request.height, multiple)
    place = place_in(request, window, overlap)
    spans = place.spans
    footage = request.extension is not None or request.retake is not None
    chained = len(spans) > 1 or footage
    chunks = tuple(_chunk(request, choice, place, span, width, height, compression, chained=chained) for span in spans)
    steps = _steps(request, checkpoint)
    temporal_steps = len(sigmas.TEMPORAL_REFINEMENT) if request.upscale else 0
    reason = choice.reason
    if request.loras:
        named = ", ".join(f"{lora.name} at weight {lora.weight:g}" for lora in request.loras)
        reason += f"; with the LoRA{'s' if len(request.loras) > 1 else ''} {named}"
    if request.upscale:
        made = sum(at_half_rate(chunk).span.frames for chunk in chunks)
        reason += f"; {made} frames at {request.fps / 2:g} a second are made first, and their rate is doubled"
    if len(chunks) > 1:
        most = doubled(window) if request.upscale else window
        reason += f"; {place.frames} frames are more than {most} at once, so {len(chunks)} chunks are chained"
    everywhere = [placed for chunk in chunks for placed in chunk.conditions]
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
                temporal_tokens=chunk.temporal_tokens,
                temporal_steps=temporal_steps,
            )
        )
        + ((join_stage(len(chunks), request.num_frames, width * height),) if chained else ()),
        notices=tuple(plan_notices(request, checkpoint, place, everywhere, size=(width, height))),
        first_frame=place.first_frame,
        trail=place.trail,
        from_footage=footage,
        temporal_steps=temporal_steps,
    )


def with_prompts_of(plan: VideoPlan, request: VideoRequest) -> VideoPlan:
    """The plan with the prompts of `request`, which is otherwise the one that it was made for."""
    chunks = tuple(replace(chunk, prompt=_prompt_of(request, chunk.span.index)) for chunk in plan.chunks)
    return replace(plan, chunks=chunks)


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


def _chunk(
    request: VideoRequest,
    choice: Choice,
    place: Place,
    span: Span,
    width: int,
    height: int,
    compression: int,
    *,
    chained: bool,
) -> Chunk:
    chunk = Chunk(
        span=span,
        seed=request.seed + span.index,
        prompt=_prompt_of(request, span.index),
        negative_prompt=_negative_prompt_of(request, span.index),
        stage_prefix=f"chunk_{span.index + 1}." if chained else "",
        conditions=_conditions_of(request, span, place.first_frame, choice.pipeline),
        stage_1_tokens=0,
        stage_2_tokens=0,
    )
    first = at_half_rate(chunk) if request.upscale else chunk
    references, appended = _appended(request, first.conditions, choice)
    _, appended_last = _appended(request, chunk.conditions, choice)
    return replace(
        chunk,
        stage_1_tokens=_tokens(width // 2, height // 2, compression, first.span, appended)
        + reference_tokens(request, (one.frames for one in references), width // 2, height // 2, compression),
        stage_2_tokens=_tokens(width, height, compression, first.span, appended),
        temporal_tokens=_tokens(width, height, compression, span, appended_last) if request.upscale else 0,
    )


def _overlap(request: VideoRequest, window: int) -> Overlap:
    """As asked, else the default or what leaves room for new frames in shorter chunks: in frames of stage 1."""
    asked = request.overlap_frames
    frames = limits.OVERLAP_FRAMES if asked is None else asked
    frames = halved(frames) if request.upscale else frames
    if asked is None:
        frames = max(1, min(frames, window - limits.MIN_NEW_FRAMES))
    overlap = align_overlap(frames)
    if overlap.frames >= window:
        shared, most = (doubled(n) if request.upscale else n for n in (overlap.frames, window))
        raise InvalidArgument("overlap_frames", f"{shared} on the latent grid leave nothing new in a chunk of {most}")
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


def _refuse_doubled_conditions(request: VideoRequest, pipeline: Pipeline) -> None:
    first_at: dict[int, int] = {}
    for i, condition in enumerate(request.conditions):
        if condition.kind == "video" and pipeline is Pipeline.IC_LORA:
            # A reference, beside which there may be an image.
            continue
        frame = resolve_frame(condition.frame_index, request.num_frames)
        if request.retake and not request.retake.first_frame <= frame <= request.retake.last_frame:
            raise InvalidArgument(
                f"conditions[{i}].frame_index",
                f"frame {frame} lies outside of the frames {request.retake.first_frame} to "
                f"{request.retake.last_frame} that are made anew",
            )
        if frame in first_at:
            raise InvalidArgument(
                f"conditions[{i}].frame_index",
                f"frame {frame} already has conditions[{first_at[frame]}]",
            )
        first_at[frame] = i


def _conditions_of(
    request: VideoRequest, span: Span, first_frame: int, pipeline: Pipeline
) -> tuple[ChunkCondition, ...]:
    """Conditions that show something of the kept part of the chunk, at the chunk's own frame numbers.

    A video goes on from chunk to chunk. As a reference it shows the frames that the chunk repeats too, so that its
    latents stand for the same frames as the chunk's.
    """
    found = []
    for i, condition in enumerate(request.conditions):
        begin = resolve_frame(condition.frame_index, request.num_frames) - first_frame
        end = min(begin + condition.frames, span.start + span.kept)
        if begin < span.start + span.kept and end > span.start:
            repeats = condition.kind == "video" and pipeline is Pipeline.IC_LORA
            here = max(begin, span.start - (span.overlap if repeats else 0))
            found.append(
                ChunkCondition(
                    index=i,
                    frame=here - span.start + span.overlap,
                    frames=whole_latents(end - here),
                    read_from=here - begin,
                )
            )
    return tuple(found)


def _appended(
    request: VideoRequest, placed: tuple[ChunkCondition, ...], choice: Choice
) -> tuple[tuple[ChunkCondition, ...], tuple[ChunkCondition, ...]]:
    """The conditions that are references, and those that are appended to the video as what stands at their frame."""
    in_context = choice.pipeline is Pipeline.IC_LORA
    references = tuple(one for one in placed if in_context and request.conditions[one.index].kind == "video")
    first_replaces = choice.pipeline is not Pipeline.KEYFRAME
    others = (one for one in placed if one not in references)
    return references, tuple(one for one in others if not (first_replaces and one.frame == 0))


def _tokens(width: int, height: int, compression: int, span: Span, appended: tuple[ChunkCondition, ...]) -> int:
    """Tokens of a chunk's video, and those of the images and videos that are appended to it."""
    lengths = (span.frames, *(one.frames for one in appended))
    return sum(video_tokens(width, height, frames, compression) for frames in lengths)
