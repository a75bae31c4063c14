"""Calls that a job makes of other processes, from its thread; a cancelled job does not wait for their end."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from milimo_runtime.job_run import Signals

T = TypeVar("T")


def answer_of(call: Coroutine[Any, Any, T], *, loop: asyncio.AbstractEventLoop, signals: Signals) -> T:
    """What `call` returns, which runs on `loop`; the job's thread waits for it. The job must not be on a turn: what it
    calls may itself need memory.

    Raises:
        JobCancelled, JobDraining: the call was cancelled on the way.
    """
    future = asyncio.run_coroutine_threadsafe(call, loop)
    earlier = signals.rouse

    def give_up() -> None:
        future.cancel()

    signals.rouse = give_up
    try:
        # What was asked before now roused nobody.
        signals.check()
        return future.result()
    except concurrent.futures.CancelledError:
        signals.check()
        raise
    finally:
        signals.rouse = earlier
        future.cancel()
