"""Prompts that a language model writes before anything is made: the video's, and those of its further chunks."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from milimo_runtime.assets import require_asset
from milimo_runtime.images import decode_image
from milimo_runtime.jobs import PromptEnhanced
from milimo_runtime.prompt_provider import ProviderFailed, continued, enhanced, provider_of

from milimo_video.validation import resolve_frame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from milimo_runtime.job_run import JobObserver, JobRun
    from milimo_runtime.model_process import ModelProcess
    from milimo_runtime.progress import Stage
    from milimo_runtime.prompt_provider import PromptProvider

    from milimo_video.loaded import LoadedVideo
    from milimo_video.plan import VideoPlan
    from milimo_video.request import VideoRequest

STEP: Final = "prompts"
_STAGE: Final = "enhance_prompt"
_IMAGE_SIDE: Final = 1024


def with_written_prompts(
    process: ModelProcess[LoadedVideo],
    run: JobRun,
    request: VideoRequest,
    plan: VideoPlan,
    stages: Sequence[Stage],
) -> VideoRequest:
    """The request with the prompts that the provider writes, as a durable step without a lease.

    Each further chunk that has no prompt of its own gets one that goes on from those before. What the provider fails
    to write stays as it was asked for, and a notice says so. Raises as `JobRun.light_step`.
    """
    provider = provider_of(process.settings)
    if not request.enhance_prompt or provider is None:
        return request

    def write(observer: JobObserver) -> Mapping[str, Any]:
        return write_prompts(provider, run, request, plan, observer, _start_image(process, request))

    written = run.light_step(STEP, stages, write)
    return replace(request, prompt=written["prompt"], chunk_prompts=tuple(written["chunk_prompts"]))


def write_prompts(
    provider: PromptProvider,
    run: JobRun,
    request: VideoRequest,
    plan: VideoPlan,
    observer: JobObserver,
    image: bytes | None,
) -> Mapping[str, Any]:
    """The request's `prompt` and `chunk_prompts` as the provider writes them, told to the job's watchers.

    `image` is the start image, for a provider that sees.
    """
    chunks = len(plan.chunks)
    given = [*request.chunk_prompts, *[""] * (chunks - 1 - len(request.chunk_prompts))]
    wanting = [number for number in range(chunks - 1) if not given[number].strip()]
    prompt, failure = request.prompt, ""
    observer.begin(_STAGE, 1 + len(wanting))
    try:
        prompt = enhanced(provider, prompt, kind="video", seed=request.seed, image=image)
        observer.advance()
        for number in wanting:
            so_far = [prompt, *(text for text in given[:number] if text.strip())]
            given[number] = continued(provider, request.prompt, so_far, parts=chunks, seed=request.seed + number + 1)
            observer.advance()
    except ProviderFailed as error:
        failure = str(error)
    provider.unload()
    if prompt != request.prompt:
        run.append(PromptEnhanced(prompt=prompt, provider=provider.name))
    if failure:
        left = "the prompt" if prompt == request.prompt else "the prompts of further chunks"
        run.notice("PROMPT_PROVIDER_FAILED", f"{failure}; {left} stayed as asked")
    return {"prompt": prompt, "chunk_prompts": given}


def _start_image(process: ModelProcess[LoadedVideo], request: VideoRequest) -> bytes | None:
    """The image at the first frame, for a model that sees."""
    for number, condition in enumerate(request.conditions):
        if condition.kind != "image" or resolve_frame(condition.frame_index, request.num_frames) != 0:
            continue
        field = f"video.conditions[{number}].asset_id"
        with process.database.read() as session:
            asset = require_asset(session, condition.asset_id, field_name=field)
        with process.media.local(asset.key, scratch=process.scratch) as path:
            image = decode_image(path, field=field)
        image.thumbnail((_IMAGE_SIDE, _IMAGE_SIDE))
        data = io.BytesIO()
        image.save(data, "JPEG", quality=90)
        return data.getvalue()
    return None
