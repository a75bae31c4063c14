"""One live stream for all who watch the same thing."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, TypeVar

from milimo_runtime.errors import MilimoError, Unavailable
from sqlalchemy.exc import SQLAlchemyError

from milimo_storyboard.inbox import Told

if TYPE_CHECKING:
    from collections.abc import Callable

    from milimo.v1 import jobs_pb2

    from milimo_storyboard.inbox import Inbox
    from milimo_storyboard.peers import Peers

log = logging.getLogger(__name__)

T = TypeVar("T")

# The seconds of one core that an event costs on its way to one watcher, gateway and reader included.
# Ephemeral events come no faster than that: a crowd would only see them later and later.
_WATCHER_SECONDS: Final = 120e-6
# And so long, for each watcher, they wait for a newer one: a stage's end and the next one's begin come at once.
_SETTLING_SECONDS: Final = 10e-6
# How often a database that does not answer is asked before the watchers are sent away.
_READS: Final = 5


class Broadcast(ABC):
    """Reads one source as long as somebody watches, and tells all of them what it brings.

    Lives in the event loop. Its end, whatever brought it, ends the watchers' streams too, after what was told before.
    """

    def __init__(self, peers: Peers) -> None:
        """Nothing is read before `start`."""
        self.users = 0
        self.over = False
        self._peers = peers
        self._error: MilimoError | None = None
        self._inboxes: set[Inbox] = set()
        # Ephemeral events that wait for their turn.
        self._pending: dict[tuple[str, str], Told] = {}
        self._turn: asyncio.TimerHandle | None = None
        # Until then the watchers have to do with what was told.
        self._busy_until = float("-inf")
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    def start(self) -> None:
        """Begins to read."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Leaves the source."""
        if self._turn is not None:
            self._turn.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def ready(self) -> None:
        """Returns when the source was read once. Raises what went wrong with that."""
        await self._ready.wait()
        if self._error is not None:
            raise self._error.with_traceback(None)

    def add(self, inbox: Inbox) -> None:
        """From now on the inbox is filled."""
        self._inboxes.add(inbox)
        if self.over:
            inbox.end(self._error)

    def remove(self, inbox: Inbox) -> None:
        """The inbox is filled no more."""
        self._inboxes.discard(inbox)

    @abstractmethod
    async def _read(self) -> None:
        """Reads the source to its end, and calls `_begin` when it was read once."""

    def _begin(self) -> None:
        """From now on watchers can come."""
        self._ready.set()

    def _tell(self, message: jobs_pb2.JobEvent) -> Told:
        """Tells all watchers: a durable event at once, an ephemeral one when they have had the time for the last."""
        told = Told.of(message)
        if message.durable:
            for key in [key for key in self._pending if key[0] == message.job_id]:
                del self._pending[key]
            self._put(told)
        else:
            self._pending[told.kind] = told
            if self._turn is None:
                crowd = len(self._inboxes)
                self._turn = self._loop.call_at(
                    max(self._busy_until, self._loop.time() + crowd * _SETTLING_SECONDS), self._flush
                )
        return told

    def _flush(self) -> None:
        self._turn = None
        for told in self._pending.values():
            self._put(told)
        self._pending.clear()

    def _put(self, told: Told) -> None:
        self._busy_until = self._loop.time() + len(self._inboxes) * _WATCHER_SECONDS
        for inbox in self._inboxes:
            inbox.put(told)

    async def _ask(self, question: Callable[[], T]) -> T:
        """Asks the database, in a thread. Raises Unavailable when it does not answer."""
        backoff = self._peers.backoff()
        for number in range(_READS):
            if number:
                await backoff.rest()
            try:
                return await asyncio.to_thread(question)
            except SQLAlchemyError:
                log.warning("jobs cannot be read", exc_info=True, extra={"action": "jobs_unread"})
        raise Unavailable("the jobs' events cannot be read: the database does not answer; watch again later")

    async def _run(self) -> None:
        error: MilimoError | None = Unavailable("the process that tells of jobs stops; watch again")
        try:
            await self._read()
            error = None
        except MilimoError as met:
            error = met
        except Exception:
            log.exception("a watch broke off", extra={"action": "watch_broke_off"})
            error = Unavailable("the jobs' events cannot be followed; watch again after the last one that came")
        finally:
            self._flush()
            self.over, self._error = True, error
            self._ready.set()
            for inbox in self._inboxes:
                inbox.end(error)
