"""One job as all its watchers see it: the events that are recorded, then its process's live stream."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

import grpc.aio
from milimo.v1 import worker_pb2
from milimo_runtime.job_messages import STATES, event_message
from milimo_runtime.jobs import FINAL_STATES
from milimo_runtime.statuses import from_rpc_error

from milimo_storyboard.broadcast import Broadcast
from milimo_storyboard.inbox import Inbox
from milimo_storyboard.peers import AWAY

if TYPE_CHECKING:
    from milimo.v1 import jobs_pb2
    from milimo_runtime.job_store import JobStore

    from milimo_storyboard.inbox import Told
    from milimo_storyboard.peers import Peers

log = logging.getLogger(__name__)

FINAL: Final = frozenset(STATES[state] for state in FINAL_STATES)


class JobBroadcast(Broadcast):
    """The events of one job from its first to its end, also across restarts of the process that runs it."""

    def __init__(self, peers: Peers, store: JobStore, job_id: str, *, previews: bool) -> None:
        super().__init__(peers)
        self._store = store
        self._job_id = job_id
        self._previews = previews
        self._backoff = peers.backoff()
        self._patience = peers.patience()
        # Durable events without gap; the latest ephemeral ones for those who come later.
        self._log: list[Told] = []
        self._latest: dict[tuple[str, str], Told] = {}
        self._fraction = 0.0

    async def open(self, after: int) -> Inbox:
        """An inbox with all events after a sequence number.

        Raises:
            NotFound: there is no such job.
            OutOfRange: the job has no event `after`.
            Unavailable: the database does not answer.
        """
        await self.ready()
        if after > self._last:
            # Recorded, maybe, and not heard of here yet.
            await self._ask(partial(self._store.read_on, self._job_id, after=after))
        inbox = Inbox(after=after)
        for told in (*self._log[after:], *self._latest.values()):
            inbox.put(told)
        self.add(inbox)
        return inbox

    @property
    def _last(self) -> int:
        return self._log[-1].message.sequence if self._log else 0

    async def _read(self) -> None:
        while True:
            job, events = await self._ask(partial(self._store.read_on, self._job_id, after=self._last))
            for event in events:
                self._durable(event_message(event, job))
            self._begin()
            if job.state.final:
                return
            if not await self._peers.answers(job.worker_address, within=self._patience.draw()):
                continue
            self._patience.reset()
            if await self._follow(job.worker_address):
                return
            await self._backoff.rest()

    async def _follow(self, address: str) -> bool:
        """Tells what the process at the address tells. Returns whether that was the job's end."""
        request = worker_pb2.FollowJobRequest(job_id=self._job_id, after_sequence=self._last, previews=self._previews)
        call = self._peers.streams(address).FollowJob(request)
        try:
            async for message in call:
                if not message.durable:
                    self._ephemeral(message)
                elif message.sequence == self._last + 1:
                    self._backoff.reset()
                    self._durable(message)
                    if message.state in FINAL:
                        return True
                elif message.sequence > self._last:
                    log.warning("events were left out", extra={"action": "events_missing", "job_id": self._job_id})
                    return False
        except grpc.aio.AioRpcError as error:
            if error.code() not in AWAY:
                raise from_rpc_error(error) from error
            log.info("worker went away", extra={"action": "worker_away", "job_id": self._job_id})
        finally:
            call.cancel()
        return False

    def _durable(self, message: jobs_pb2.JobEvent) -> None:
        self._latest.clear()
        self._log.append(self._tell(message))

    def _ephemeral(self, message: jobs_pb2.JobEvent) -> None:
        if message.HasField("progress"):
            # An attempt after a crash begins its count anew; what was told before still holds.
            self._fraction = max(self._fraction, message.progress.fraction)
            message.progress.fraction = self._fraction
        told = self._tell(message)
        self._latest[told.kind] = told
