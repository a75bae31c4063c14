"""Checks of a request that need no model: each error names the field as the contract spells it."""

from __future__ import annotations

from milimo_runtime.errors import InvalidArgument

from milimo_video import limits
from milimo_video.request import Checkpoint, Condition, VideoRequest


def validate_request(request: VideoRequest, checkpoint: Checkpoint) -> None:
    """Raises `InvalidArgument` for the first field that is out of its range."""
    _length("prompt", request.prompt)
    _length("negative_prompt", request.negative_prompt or "")
    if not request.prompt.strip() and not request.conditions:
        raise InvalidArgument("prompt", "a prompt is required unless there is a condition")
    _between("num_frames", request.num_frames, 1, limits.MAX_FRAMES)
    _side("width", request.width, still=request.num_frames == 1)
    _side("height", request.height, still=request.num_frames == 1)
    if request.fps not in limits.ACCEPTED_FPS:
        accepted = ", ".join(map(str, limits.ACCEPTED_FPS))
        raise InvalidArgument("fps", f"must be one of {accepted}, not {request.fps}")
    _between("seed", request.seed, 0, limits.MAX_SEED)
    if request.steps is not None and checkpoint == "dev":
        _between("steps", request.steps, limits.MIN_DEV_STEPS, limits.MAX_DEV_STEPS)
    elif request.steps is not None:
        _between("steps", request.steps, 1, limits.MAX_DEV_STEPS)
    if request.overlap_frames is not None:
        _between("overlap_frames", request.overlap_frames, 1, limits.MAX_OVERLAP_FRAMES)
    if len(request.chunk_prompts) > limits.MAX_CHUNK_PROMPTS:
        raise InvalidArgument("chunk_prompts", f"at most {limits.MAX_CHUNK_PROMPTS}, not {len(request.chunk_prompts)}")
    for i, prompt in enumerate(request.chunk_prompts):
        _length(f"chunk_prompts[{i}]", prompt)
    if len(request.conditions) > limits.MAX_CONDITIONS:
        raise InvalidArgument("conditions", f"at most {limits.MAX_CONDITIONS}, not {len(request.conditions)}")
    for i, condition in enumerate(request.conditions):
        _condition(f"conditions[{i}]", condition, request.num_frames)
    _footage(request)
    if len(request.loras) > limits.MAX_LORAS:
        raise InvalidArgument("loras", f"at most {limits.MAX_LORAS}, not {len(request.loras)}")
    for i, lora in enumerate(request.loras):
        if not lora.name:
            raise InvalidArgument(f"loras[{i}].name", "a LoRA is named as in the model registry")
        if not abs(lora.weight) <= limits.MAX_LORA_WEIGHT:
            raise InvalidArgument(
                f"loras[{i}].weight",
                f"must lie between -{limits.MAX_LORA_WEIGHT} and {limits.MAX_LORA_WEIGHT}, not {lora.weight}",
            )


def resolve_frame(frame_index: int, num_frames: int) -> int:
    """A frame index of a condition, counted from the start: −1 is the last of `num_frames`."""
    return frame_index + num_frames if frame_index < 0 else frame_index


def _length(field: str, text: str) -> None:
    if len(text) > limits.MAX_PROMPT_CHARS:
        raise InvalidArgument(field, f"at most {limits.MAX_PROMPT_CHARS} characters, not {len(text)}")


def _between(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidArgument(field, f"must lie between {low} and {high}, not {value}")


def _side(field: str, value: int, *, still: bool) -> None:
    _between(field, value, 1 if still else 2, limits.MAX_SIDE)
    if value % 2 and not still:
        raise InvalidArgument(field, f"must be even for a video (H.264, yuv420p), not {value}")


def _footage(request: VideoRequest) -> None:
    retake = request.retake
    if retake is None:
        return
    if request.upscale:
        raise InvalidArgument("upscale", "a span of a video is made at the video's own frame rate")
    if request.extension is not None:
        raise InvalidArgument("retake", "a video is either continued or made anew in part, not both")
    _between("retake.first_frame", retake.first_frame, 0, retake.frames - 1)
    _between("retake.last_frame", retake.last_frame, retake.first_frame, retake.frames - 1)
    if request.num_frames != retake.frames:
        raise InvalidArgument("num_frames", f"is that of the video, {retake.frames}, when a span of it is made anew")


def _condition(field: str, condition: Condition, num_frames: int) -> None:
    if not condition.asset_id:
        raise InvalidArgument(f"{field}.asset_id", "a condition names an asset")
    if not -num_frames <= condition.frame_index < num_frames:
        raise InvalidArgument(
            f"{field}.frame_index",
            f"must lie between {-num_frames} and {num_frames - 1} for {num_frames} frames, not {condition.frame_index}",
        )
    # Written so that NaN is refused too.
    if not 0.0 <= condition.strength <= 1.0:
        raise InvalidArgument(f"{field}.strength", f"must lie between 0 and 1, not {condition.strength}")
