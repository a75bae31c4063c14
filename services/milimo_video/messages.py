"""Video requests and plans between the contract and this service's own types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from milimo.v1 import common_pb2, jobs_pb2, models_pb2, video_pb2
from milimo_runtime.assets import AssetKind, require_asset, require_project
from milimo_runtime.errors import InvalidArgument, Unimplemented
from milimo_runtime.seeds import draw_seed

from milimo_video import limits
from milimo_video.choice import Pipeline
from milimo_video.geometry import resampled
from milimo_video.request import Condition, Extension, Handoff, Lora, PipelineOverride, Retake, VideoRequest
from milimo_video.stage_costs import GUIDED_CALLS, REFINE_TIME, STAGE_1, STAGE_2

if TYPE_CHECKING:
    from milimo_runtime.assets import Asset
    from milimo_runtime.registry import InstalledModel
    from sqlalchemy.orm import Session

    from milimo_video.plan import VideoPlan
    from milimo_video.stage_costs import Stage

_OVERRIDES: Final = {
    video_pb2.VIDEO_PIPELINE_UNSPECIFIED: PipelineOverride.AUTO,
    video_pb2.VIDEO_PIPELINE_TI2VID: PipelineOverride.TI2VID,
    video_pb2.VIDEO_PIPELINE_KEYFRAME: PipelineOverride.KEYFRAME,
    video_pb2.VIDEO_PIPELINE_IC_LORA: PipelineOverride.IC_LORA,
}
_HANDOFFS: Final = {
    video_pb2.CHUNK_HANDOFF_LATENT: Handoff.LATENT,
    video_pb2.CHUNK_HANDOFF_REENCODE: Handoff.REENCODE,
}
_PIPELINES: Final = {
    pipeline: video_pb2.VideoPipeline.Value(f"VIDEO_PIPELINE_{pipeline.name}") for pipeline in Pipeline
}
# Rates of files are fractions.
_SAME_FPS: Final = 0.001
# Options of the contract whose feature comes later, and what that feature is.
_LATER: Final = (("shot_id", "videos for shots of a storyboard"),)


def request_from(
    session: Session, project_id: str, video: video_pb2.VideoParameters, *, has_provider: bool = False
) -> VideoRequest:
    """The request with the project's defaults filled in and a seed drawn.

    Prompts are enriched where there is a provider for that, unless the request says otherwise.

    Raises:
        NotFound: there is no such project, or no such asset in it.
        InvalidArgument: a condition is neither an image nor a video; a pipeline that cannot be asked for.
        Unimplemented: an option whose feature comes later.
    """
    project = require_project(session, project_id)
    asked = {field.name for field, value in video.ListFields() if value is not False}
    for field, feature in _LATER:
        if field in asked:
            raise Unimplemented(feature)
    if video.pipeline_override not in _OVERRIDES:
        raise InvalidArgument("video.pipeline_override", "an image is asked for by num_frames 1")
    given = {
        name: getattr(video, name)
        for name in ("negative_prompt", "num_frames", "steps", "cfg_scale", "overlap_frames")
        if video.HasField(name)
    }
    base = _base(session, project_id, video)
    width, height = (project.resolution_w, project.resolution_h) if base is None else (base.width, base.height)
    width, height = (
        video.width if video.HasField("width") else width,
        video.height if video.HasField("height") else height,
    )
    fps = video.fps if video.HasField("fps") else project.fps
    if base is not None and not video.HasField("fps") and round(base.fps, 3) in limits.ACCEPTED_FPS:
        fps = round(base.fps)
    extension, retake = None, None
    if base is not None and video.extend_asset_id:
        extension = Extension(
            asset_id=base.id, frames=resampled(base.num_frames, base.fps, fps), seconds=base.duration_seconds
        )
    if base is not None and video.HasField("retake"):
        _require_same(base, width, height, fps)
        retake = Retake(
            asset_id=base.id,
            frames=base.num_frames,
            first_frame=video.retake.first_frame,
            last_frame=video.retake.last_frame,
        )
        given.setdefault("num_frames", base.num_frames)
    return VideoRequest(
        prompt=video.prompt,
        seed=video.seed if video.HasField("seed") else draw_seed() if project.seed is None else project.seed,
        width=width,
        height=height,
        fps=fps,
        extension=extension,
        retake=retake,
        enhance_prompt=video.enhance_prompt if video.HasField("enhance_prompt") else has_provider,
        pipeline_override=_OVERRIDES[video.pipeline_override],
        conditions=tuple(
            _condition(session, project_id, condition, f"video.conditions[{index}]", fps)
            for index, condition in enumerate(video.conditions)
        ),
        loras=tuple(
            Lora(name=lora.name, weight=lora.weight if lora.HasField("weight") else 1.0) for lora in video.loras
        ),
        handoff=_HANDOFFS.get(video.handoff, Handoff.LATENT if extension is None else Handoff.REENCODE),
        match_statistics=video.match_statistics,
        upscale=video.upscale,
        chunk_prompts=tuple(video.chunk_prompts),
        **given,
    )


def _base(session: Session, project_id: str, video: video_pb2.VideoParameters) -> Asset | None:
    """The video that the result continues, or is a part of."""
    if video.extend_asset_id and video.HasField("retake"):
        raise InvalidArgument("video.retake", "a video is either continued or made anew in part, not both")
    if video.HasField("retake"):
        asset_id, field = video.retake.asset_id, "video.retake.asset_id"
    elif video.extend_asset_id:
        asset_id, field = video.extend_asset_id, "video.extend_asset_id"
    else:
        return None
    asset = require_asset(session, asset_id, field_name=field, project_id=project_id)
    if asset.kind is not AssetKind.VIDEO:
        raise InvalidArgument(field, f"is a {asset.kind}; a video is expected")
    return asset


def _require_same(base: Asset, width: int, height: int, fps: int) -> None:
    """Frames that stay are copied: the new ones have their size and rate."""
    if (width, height) != (base.width, base.height):
        field = "video.width" if width != base.width else "video.height"
        raise InvalidArgument(field, f"the video is {base.width} × {base.height}, and so is what is made anew in it")
    if abs(base.fps - fps) > _SAME_FPS:
        field = "video.retake.asset_id" if round(base.fps, 3) not in limits.ACCEPTED_FPS else "video.fps"
        raise InvalidArgument(field, f"the video has {base.fps:g} frames a second, not {fps}")


def _condition(session: Session, project_id: str, message: video_pb2.VideoCondition, field: str, fps: int) -> Condition:
    asset = require_asset(session, message.asset_id, field_name=f"{field}.asset_id", project_id=project_id)
    if asset.kind not in (AssetKind.IMAGE, AssetKind.VIDEO):
        raise InvalidArgument(f"{field}.asset_id", f"is a {asset.kind}; an image or a video is expected")
    if min(asset.width, asset.height) < limits.MIN_CONDITION_SIDE:
        raise InvalidArgument(
            f"{field}.asset_id",
            f"is {asset.width} × {asset.height}; both sides must be at least {limits.MIN_CONDITION_SIDE}",
        )
    return Condition(
        asset_id=asset.id,
        kind="image" if asset.kind is AssetKind.IMAGE else "video",
        frame_index=message.frame_index,
        strength=message.strength if message.HasField("strength") else limits.DEFAULT_STRENGTH,
        frames=resampled(asset.num_frames, asset.fps, fps) if asset.kind is AssetKind.VIDEO else 1,
    )


def plan_message(plan: VideoPlan, request: VideoRequest, model: InstalledModel) -> video_pb2.VideoPlan:
    """The answer to PlanVideo: the plan of a request for a model."""
    best = model.manifest.footprints[0]
    return video_pb2.VideoPlan(
        pipeline=_PIPELINES[plan.pipeline],
        reason=plan.reason,
        width=plan.width,
        height=plan.height,
        num_frames=plan.num_frames,
        fps=plan.fps,
        model_width=plan.model_width,
        model_height=plan.model_height,
        model_frames=plan.model_frames,
        chunks=[
            video_pb2.VideoChunk(
                model_frames=chunk.span.frames, new_frames=chunk.span.kept, first_frame=chunk.span.start
            )
            for chunk in plan.chunks
        ],
        stages=[_stage(stage, plan) for stage in plan.stages],
        memory_bytes=best.bytes,
        footprint=best.name,
        duration_seconds=plan.num_frames / plan.fps,
        model=f"{model.manifest.family}/{model.manifest.name}",
        distilled=plan.checkpoint == "distilled",
        notices=[jobs_pb2.JobEvent.Notice(code=notice.code, text=notice.text) for notice in plan.notices],
        footprints=[
            models_pb2.ModelFootprint(name=footprint.name, bytes=footprint.bytes)
            for footprint in model.manifest.footprints
        ],
        loras=[common_pb2.Lora(name=lora.name, weight=lora.weight) for lora in request.loras],
    )


def _stage(stage: Stage, plan: VideoPlan) -> video_pb2.VideoStage:
    forwards = 0
    if stage.name.endswith(STAGE_1):
        forwards = stage.steps * (GUIDED_CALLS if plan.checkpoint == "dev" else 1)
    elif stage.name.endswith((STAGE_2, REFINE_TIME)):
        forwards = stage.steps
    return video_pb2.VideoStage(name=stage.name, steps=stage.steps, forwards=forwards)
