"""The live side of jobs: who watches hears of each event, those before first, without gap or repeat."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from milimo_runtime.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence

    from milimo_runtime.job_store import JobStore
    from milimo_runtime.jobs import JobEvent


class _Watcher:
    """What one watcher has not read yet: every durable event, and of the ephemeral ones the latest of each kind."""

    def __init__(self, *, job_id: str, project_id: str, previews: bool) -> None:
        self.job_id = job_id
        self.project_id = project_id
        self.previews = previews
        self._durable: list[JobEvent] = []
        self._ephemeral: dict[tuple[str, str], JobEvent] = {}
        self._filled = asyncio.Event()

    def wants(self, event: JobEvent) -> bool:
        """Whether the watcher asked for it."""
        if self.job_id and event.job_id != self.job_id:
            return False
        if self.project_id and event.subject.project_id != self.project_id:
            return False
        return self.previews or event.body.kind != "preview"

    def put(self, event: JobEvent) -> None:
        """Keeps the event until it is read; a newer ephemeral one of its kind takes its place."""
        if event.durable:
            # What was told of a state is stale once the state has changed.
            self._ephemeral = {key: kept for key, kept in self._ephemeral.items() if key[0] != event.job_id}
            self._durable.append(event)
        else:
            self._ephemeral[event.job_id, event.body.kind] = event
        self._filled.set()

    async def take(self) -> list[JobEvent]:
        """Waits until there is something to read; durable events first."""
        await self._filled.wait()
        self._filled.clear()
        events = [*self._durable, *self._ephemeral.values()]
        self._durable.clear()
        self._ephemeral.clear()
        return events


class JobFeed:
    """Live events of the jobs that this process runs. Lives in the event loop; `publish` may come from any thread."""

    def __init__(self, store: JobStore, loop: asyncio.AbstractEventLoop) -> None:
        """Reads older events from `store`."""
        self._store = store
        self._loop = loop
        self._watchers: set[_Watcher] = set()
        # The latest ephemeral event of each kind of the jobs that run, for those who begin to watch later.
        self._latest: dict[str, dict[str, JobEvent]] = {}

    def publish(self, event: JobEvent) -> None:
        """Tells all who watch. Thread-safe; returns in microseconds."""
        self._loop.call_soon_threadsafe(self._deliver, event)

    def wants_previews(self, job_id: str) -> bool:
        """Whether anybody would see a preview of the job. Thread-safe: it looks at a snapshot of the watchers."""
        return any(watcher.previews and watcher.job_id in ("", job_id) for watcher in tuple(self._watchers))

    def _deliver(self, event: JobEvent) -> None:
        if event.durable:
            # What was told of a state is stale once the state has changed.
            self._latest.pop(event.job_id, None)
        else:
            self._latest.setdefault(event.job_id, {})[event.body.kind] = event
        for watcher in self._watchers:
            if watcher.wants(event):
                watcher.put(event)

    @contextlib.contextmanager
    def _watching(self, watcher: _Watcher) -> Iterator[_Watcher]:
        self._watchers = {*self._watchers, watcher}
        try:
            yield watcher
        finally:
            self._watchers = self._watchers - {watcher}

    async def follow(self, job_id: str, *, after: int = 0, previews: bool = False) -> AsyncGenerator[JobEvent]:
        """The job's events after a sequence number, then those to come, until its end.

        Durable events come once each, in order; ephemeral ones may be left out.

        Raises:
            NotFound: there is no such job.
            OutOfRange: the job has no event `after`.
        """
        last = after
        with self._watching(_Watcher(job_id=job_id, project_id="", previews=previews)) as watcher:
            job, events = await asyncio.to_thread(self._store.read_on, job_id, after=last)
            for event in events:
                last = event.sequence
                yield event
            if job.state.final:
                return
            for event in tuple(self._latest.get(job_id, {}).values()):
                if watcher.wants(event):
                    watcher.put(event)
            while True:
                for event in await watcher.take():
                    if not event.durable:
                        if event.sequence >= last:
                            yield event
                        continue
                    for found in await self._fill_gap(event, last):
                        last = found.sequence
                        yield found
                        if found.state.final:
                            return

    async def _fill_gap(self, event: JobEvent, last: int) -> Sequence[JobEvent]:
        """What follows `last`, up to this durable event at least: others may have been written by another process."""
        if event.sequence <= last:
            return ()
        if event.sequence == last + 1:
            return (event,)
        return await asyncio.to_thread(self._store.events, event.job_id, after=last)

    async def follow_all(
        self, *, project_id: str = "", previews: bool = False, watching: Callable[[], Awaitable[None]] | None = None
    ) -> AsyncGenerator[JobEvent]:
        """The events of all jobs of this process, or those of one project, from now on.

        `watching` is awaited when nothing that is published from then on will be missed.
        """
        last: dict[str, int] = {}
        with self._watching(_Watcher(job_id="", project_id=project_id, previews=previews)) as watcher:
            if watching is not None:
                await watching()
            while True:
                for event in await watcher.take():
                    if not event.durable:
                        yield event
                        continue
                    # Of a job that is met for the first time, what went before is not asked for.
                    seen = last.get(event.job_id, event.sequence - 1)
                    with contextlib.suppress(NotFound):
                        for found in await self._fill_gap(event, seen):
                            last[found.job_id] = found.sequence
                            yield found
                    if event.state.final:
                        last.pop(event.job_id, None)
