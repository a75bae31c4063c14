"""The live side of jobs: who watches hears of each event, those before first, without gap or repeat."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

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

    def publish(self, event: JobEvent) -> None:
        """Tells all who watch. Thread-safe; returns in microseconds."""
        self._loop.call_soon_threadsafe(self._deliver, event)

    def wants_previews(self, job_id: str) -> bool:
        """Whether anybody would see a preview of the job. Thread-safe: it looks at a snapshot of the watchers."""
        return any(watcher.previews and watcher.job_id in ("", job_id) for watcher in tuple(self._watchers))

    def _deliver(self, event: JobEvent) -> None:
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

    async def follow(self, job_id: str, *, after: int = 0, previews: bool = False) -> AsyncIterator[JobEvent]:
        """The job's events after a sequence number, then those to come, until its end.

        Durable events come once each, in order; ephemeral ones may be left out.

        Raises:
            NotFound: there is no such job.
        """
        last = after
        with self._watching(_Watcher(job_id=job_id, project_id="", previews=previews)) as watcher:
            for event in await asyncio.to_thread(self._store.events, job_id, after=last):
                last = event.sequence
                yield event
                if _ends(event):
                    return
            if last == after and (await asyncio.to_thread(self._store.get, job_id)).state.final:
                # Everything was seen before, the end too.
                return
            while True:
                for event in await watcher.take():
                    if not event.durable:
                        if event.sequence >= last:
                            yield event
                        continue
                    # A gap means that an event was written by another process, such as a cancellation: read it.
                    missed = (
                        await asyncio.to_thread(self._store.events, job_id, after=last)
                        if event.sequence > last + 1
                        else [event]
                    )
                    for found in missed:
                        if found.sequence > last:
                            last = found.sequence
                            yield found
                            if _ends(found):
                                return

    async def follow_all(self, *, project_id: str = "", previews: bool = False) -> AsyncIterator[JobEvent]:
        """The events of all jobs of this process, or those of one project, from now on."""
        with self._watching(_Watcher(job_id="", project_id=project_id, previews=previews)) as watcher:
            while True:
                for event in await watcher.take():
                    yield event


def _ends(event: JobEvent) -> bool:
    return event.durable and event.state.final
