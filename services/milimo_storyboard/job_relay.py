"""Follows jobs wherever they run: one live stream for all who watch the same, and the database for what came before."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, TypeVar

from milimo_runtime.database import now

from milimo_storyboard.job_broadcast import JobBroadcast
from milimo_storyboard.mesh_broadcast import MeshBroadcast
from milimo_storyboard.peers import Peers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

    from milimo_runtime.job_store import JobStore

    from milimo_storyboard.broadcast import Broadcast
    from milimo_storyboard.inbox import Inbox, Told

B = TypeVar("B", bound="Broadcast")
K = TypeVar("K")


class JobRelay:
    """Reads job events for clients of this process."""

    def __init__(self, store: JobStore, workers: Sequence[str]) -> None:
        """`workers` are the addresses of the processes that run jobs."""
        self._store = store
        self._workers = tuple(workers)
        self._peers = Peers(random.SystemRandom().random)
        # What is followed now, as long as somebody watches it; with previews and without are two streams.
        self._jobs: dict[tuple[str, bool], JobBroadcast] = {}
        self._meshes: dict[bool, MeshBroadcast] = {}

    @property
    def followed(self) -> int:
        """How many live streams are kept for those who watch."""
        return len(self._jobs) + len(self._meshes)

    async def close(self) -> None:
        """Ends what is followed, and closes the channels."""
        for broadcast in (*self._jobs.values(), *self._meshes.values()):
            await broadcast.close()
        await self._peers.close()

    async def notify(self, address: str, job_id: str) -> None:
        """Tells the process at `address` to read the job again; one that is away or slow does so by itself, later."""
        await self._peers.notify(address, job_id)

    async def watch(self, job_id: str, *, after: int, previews: bool) -> AsyncGenerator[Told]:
        """The job's events after a sequence number until its end, also across restarts of the process that runs it.

        Durable events come once each, in order; a slow reader gets of the others the newest of each kind.

        Raises:
            NotFound: there is no such job.
            OutOfRange: the job has no event `after`.
            Unavailable: the events cannot be read now.
        """

        def make() -> JobBroadcast:
            return JobBroadcast(self._peers, self._store, job_id, previews=previews)

        async with (
            _shared(self._jobs, (job_id, previews), make) as broadcast,
            _reading(broadcast, await broadcast.open(after)) as events,
        ):
            async for told in events:
                yield told

    async def watch_all(self, *, project_id: str, previews: bool) -> AsyncGenerator[Told]:
        """The events of all jobs of the mesh, or those of one project, from now on.

        While the process that runs a job is away, its durable events wait in the database, also those of jobs that
        begin and end meanwhile. The stream ends only with an error.

        Raises:
            Unavailable: the events cannot be read now, or the reader fell too far behind.
        """

        def make() -> MeshBroadcast:
            return MeshBroadcast(self._peers, self._store, self._workers, previews=previews, clock=now)

        async with (
            _shared(self._meshes, previews, make) as broadcast,
            _reading(broadcast, await broadcast.open(project_id)) as events,
        ):
            async for told in events:
                yield told


@contextlib.asynccontextmanager
async def _shared(broadcasts: dict[K, B], key: K, make: Callable[[], B]) -> AsyncIterator[B]:
    """The broadcast of that key; it begins with the first who uses it and goes with the last."""
    broadcast = broadcasts.get(key)
    if broadcast is None or broadcast.over:
        broadcast = broadcasts[key] = make()
        broadcast.start()
    broadcast.users += 1
    try:
        yield broadcast
    finally:
        broadcast.users -= 1
        if not broadcast.users:
            if broadcasts.get(key) is broadcast:
                del broadcasts[key]
            await broadcast.close()


@contextlib.asynccontextmanager
async def _reading(broadcast: Broadcast, inbox: Inbox) -> AsyncIterator[AsyncGenerator[Told]]:
    """The inbox's events; afterwards nothing is put into it any more."""
    try:
        async with contextlib.aclosing(inbox.read()) as events:
            yield events
    finally:
        broadcast.remove(inbox)
