"""What is to be sent on one `Lease` call."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from milimo_arbiter.effects import Queued, Refuse, Reply


class Stream:
    """The arbiter's end of one `Lease` call: replies to send, then a peaceful end or a refusal."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.replies: asyncio.Queue[Reply | Refuse | BaseException | None] = asyncio.Queue()
        # The latest place in the queue, when it is to be told later, and when one was told last.
        self._place: Queued | None = None
        self._later: asyncio.TimerHandle | None = None
        self._told_at = -math.inf

    def say(self, reply: Reply | Refuse) -> None:
        """Sends something that overtakes places in the queue."""
        self._forget_place()
        self.replies.put_nowait(reply)

    def say_place(self, place: Queued, pause_s: float) -> None:
        """Sends a place, that much after the last one at the earliest: then whichever is the latest."""
        if self._later is not None:
            self._place = place
            return
        loop = asyncio.get_running_loop()
        wait = self._told_at + pause_s - loop.time()
        if wait > 0:
            self._place = place
            self._later = loop.call_later(wait, self._say_latest)
        else:
            self._told_at = loop.time()
            self.replies.put_nowait(place)

    def _say_latest(self) -> None:
        place = self._place
        self._forget_place()
        if place is not None:
            self.say_place(place, 0.0)

    def _forget_place(self) -> None:
        self._place = None
        if self._later is not None:
            self._later.cancel()
            self._later = None

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more will be sent; `error` is what the caller gets."""
        self._forget_place()
        self.replies.put_nowait(error)
