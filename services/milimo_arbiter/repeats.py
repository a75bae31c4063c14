"""Repeats of what operators ask for: the same request id gets the same answer, and decides nothing a second time."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Protocol, TypeVar

from milimo_runtime.errors import AlreadyExists

from milimo_arbiter.store import ANSWERS, Answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from milimo.v1 import arbiter_pb2

    Mutation = arbiter_pb2.RevokeLeaseRequest | arbiter_pb2.ReclaimMemoryRequest


class _Message(Protocol):
    def SerializeToString(self) -> bytes:
        """The message as it travels."""

    def ParseFromString(self, serialized: bytes) -> int:
        """Reads it back."""


R = TypeVar("R", bound=_Message)
M = TypeVar("M", bound=_Message, contravariant=True)


class Record(Protocol[M]):
    """Makes an answer something to be saved with the decision itself; None when its request has no id."""

    def __call__(self, response: M) -> Answer | None:
        """Called once, with the answer."""


class Repeats:
    """The latest answers, by request id."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._answers = dict(answers)
        # A repeat that comes while the first is at work waits for it.
        self._working = asyncio.Lock()

    async def once(self, request: Mutation, response: type[R], work: Callable[[Record[R]], Awaitable[R]]) -> R:
        """Does the work, unless an earlier request with the same id did.

        Raises:
            AlreadyExists: the id was used with another request.
        """
        request_id = request.request_id
        if not request_id:
            return await work(lambda _: None)
        content = request.DESCRIPTOR.full_name.encode() + b"\0" + request.SerializeToString(deterministic=True)
        digest = hashlib.sha256(content).hexdigest()
        async with self._working:
            earlier = self._answers.get(request_id)
            if earlier is None:
                return await work(lambda answer: self._keep(request_id, digest, answer.SerializeToString()))
        if earlier.request_hash != digest:
            raise AlreadyExists(f"request_id: {request_id} was used before, with another request")
        answer = response()
        answer.ParseFromString(earlier.response)
        return answer

    def _keep(self, request_id: str, digest: str, response: bytes) -> Answer:
        answer = Answer(request_id=request_id, request_hash=digest, response=response)
        self._answers[request_id] = answer
        if len(self._answers) > ANSWERS:
            del self._answers[next(iter(self._answers))]
        return answer
