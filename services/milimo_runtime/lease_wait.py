"""A thread waits for a lease that the event loop asks for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from milimo_runtime.lease import Lease, withdraw
from milimo_runtime.lease_terms import QueuePlace

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Coroutine

# How often the thread looks up without being roused, in seconds.
PATIENCE_S: Final = 0.5


def wait_for_lease(
    loop: asyncio.AbstractEventLoop,
    ask: Callable[[Callable[[QueuePlace], None]], Coroutine[Any, Any, Lease]],
    *,
    condition: threading.Condition,
    roused: Callable[[], bool],
    look: Callable[[QueuePlace], None],
) -> Lease:
    """Returns the lease when it is held.

    Args:
        loop: where the lease will live.
        ask: `acquire` for what is wanted; its argument hears of each new place in the queue.
        condition: notified whenever `roused` may have become true.
        roused: whether the thread should look up now. Called with the condition held.
        look: called by this thread without the condition, with the latest place, when there is a new one, when roused,
            and about twice a second. What it raises takes the request back and passes.

    Raises:
        MilimoError: when the arbiter refuses the request.
    """
    latest = QueuePlace(position=0, reason="asks the arbiter")
    told = latest

    def on_queued(place: QueuePlace) -> None:
        nonlocal latest
        with condition:
            latest = place
            condition.notify_all()

    def on_done(_: asyncio.Task[Lease]) -> None:
        with condition:
            condition.notify_all()

    async def begin() -> asyncio.Task[Lease]:
        task = asyncio.create_task(ask(on_queued))
        task.add_done_callback(on_done)
        return task

    task = asyncio.run_coroutine_threadsafe(begin(), loop).result()
    try:
        while True:
            with condition:
                if not task.done() and latest == told and not roused():
                    condition.wait(PATIENCE_S)
                if task.done():
                    break
                told = latest
            look(told)
    except BaseException:
        asyncio.run_coroutine_threadsafe(withdraw(task), loop).result()
        raise
    return task.result()
