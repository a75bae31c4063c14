"""Prompts that a language model enriches before an image is made."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from milimo_runtime.job_call import answer_of
from milimo_runtime.jobs import PromptEnhanced
from milimo_runtime.prompt_provider import ProviderFailed, enhanced

from milimo_image.plan import ENHANCE_PROMPT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from milimo_runtime.job_run import JobObserver, JobRun
    from milimo_runtime.progress import Stage
    from milimo_runtime.prompt_provider import PromptProvider

    from milimo_image.request import ImageRequest

_STEP: Final = "prompt"


def with_enriched_prompt(
    run: JobRun,
    request: ImageRequest,
    stages: Sequence[Stage],
    provider: PromptProvider | None,
    loop: asyncio.AbstractEventLoop,
) -> ImageRequest:
    """The request with the prompt that the provider writes, as a durable step without a lease; `loop` is running.

    When the provider fails the prompt stays as it is, and a notice says so. Raises as `JobRun.light_step`.
    """

    def write(observer: JobObserver) -> Mapping[str, Any]:
        return {"prompt": _written(run, request, provider, loop, observer)}

    prompt = run.light_step(_STEP, stages, write)["prompt"]
    if prompt == request.prompt:
        return request
    return replace(request, prompt=prompt, original_prompt=request.original_prompt or request.prompt)


def _written(
    run: JobRun,
    request: ImageRequest,
    provider: PromptProvider | None,
    loop: asyncio.AbstractEventLoop,
    observer: JobObserver,
) -> str:
    if provider is None:
        run.notice("PROMPT_PROVIDER_FAILED", "no prompt provider is set; the prompt stayed as asked")
        return request.prompt
    observer.begin(ENHANCE_PROMPT, 1)
    # In a thread of the loop's: a cancelled job does not wait for the provider.
    call = asyncio.to_thread(enhanced, provider, request.prompt, kind="image", seed=request.seed or 0)
    try:
        prompt = answer_of(call, loop=loop, signals=run.signals)
    except ProviderFailed as error:
        run.notice("PROMPT_PROVIDER_FAILED", f"{error}; the prompt stayed as asked")
        prompt = request.prompt
    else:
        run.append(PromptEnhanced(prompt=prompt, provider=provider.name))
    finally:
        provider.unload()
    observer.advance()
    return prompt
