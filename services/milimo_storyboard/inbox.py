"""What one watcher has not read yet."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from milimo_runtime.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from milimo.v1 import jobs_pb2
    from milimo_runtime.errors import MilimoError


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """An event on its way to many watchers, who share both forms of it: no reader changes it."""

    message: jobs_pb2.JobEvent
    data: bytes

    @classmethod
    def of(cls, message: jobs_pb2.JobEvent) -> Told:
        """The event, which is not changed any more."""
        return cls(message=message, data=message.SerializeToString())

    @property
    def kind(self) -> tuple[str, str]:
        """Of the ephemeral events of one kind only the newest counts."""
        return self.message.job_id, self.message.WhichOneof("event") or ""


class Inbox:
    """Every durable event in order, and behind them of the ephemeral ones the newest of each kind."""

    def __init__(self, *, project_id: str = "", after: int = 0, limit: int | None = None) -> None:
        """For the events of one project, or all; those of a job that have a sequence above `after`.

        A reader who leaves more than `limit` durable events unread is sent away with UNAVAILABLE.
        """
        self._project_id = project_id
        self._after = after
        self._limit = limit
        self._durable: deque[Told] = deque()
        self._ephemeral: dict[tuple[str, str], Told] = {}
        self._filled = asyncio.Event()
        self._over = False
        self._error: MilimoError | None = None

    def __len__(self) -> int:
        """How many events wait."""
        return len(self._durable) + len(self._ephemeral)

    def put(self, told: Told) -> None:
        """Keeps the event until it is read, or a newer ephemeral one of its kind comes."""
        message = told.message
        if self._over or (self._project_id and message.subject.project_id != self._project_id):
            return
        if not message.durable:
            if message.sequence < self._after:
                return
            self._ephemeral[told.kind] = told
        elif message.sequence <= self._after:
            return
        elif self._limit is not None and len(self._durable) >= self._limit:
            self.end(Unavailable(f"more than {self._limit} events wait for this reader: read faster, or watch anew"))
            return
        else:
            # What was told of a state is stale once the state has changed.
            for key in [key for key in self._ephemeral if key[0] == message.job_id]:
                del self._ephemeral[key]
            self._durable.append(told)
        self._filled.set()

    def end(self, error: MilimoError | None = None) -> None:
        """Nothing follows what was put before; `error` is told then."""
        if not self._over:
            self._over, self._error = True, error
            self._filled.set()

    async def read(self) -> AsyncGenerator[Told]:
        """What comes, until the end. Raises what the inbox was ended with."""
        while True:
            if self._durable:
                yield self._durable.popleft()
            elif self._ephemeral:
                yield self._ephemeral.pop(next(iter(self._ephemeral)))
            elif self._over:
                if self._error is not None:
                    # Others raise the same one: their frames are none of ours.
                    raise self._error.with_traceback(None)
                return
            else:
                self._filled.clear()
                await self._filled.wait()
