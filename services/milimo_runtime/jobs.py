"""What a job is: its states, its row as a value, and the events that happen to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Final

from milimo_runtime.lease_terms import Priority

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from milimo_runtime.assets import Asset


class JobState(StrEnum):
    """QUEUED → WAITING_FOR_LEASE ↔ RUNNING → SUCCEEDED | FAILED | CANCELLED; QUEUED again only when a worker died."""

    QUEUED = "queued"
    WAITING_FOR_LEASE = "waiting_for_lease"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self in FINAL_STATES


FINAL_STATES: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
OPEN_STATES: Final = frozenset(JobState) - FINAL_STATES


class JobKind(StrEnum):
    """What a job makes."""

    VIDEO = "video"
    IMAGE = "image"
    INPAINT = "inpaint"
    THUMBNAILS = "thumbnails"
    ELEMENT_VISUAL = "element_visual"
    SHOT = "shot"
    SHOTS = "shots"
    RENDER = "render"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a job is about, so that its end touches only that."""

    project_id: str
    shot_id: str = ""
    element_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a job failed: a `google.rpc.Status` as a value. `details` are its packed messages as JSON."""

    code: int
    message: str
    details: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as it stood when it was read."""

    id: str
    kind: JobKind
    service: str
    worker_address: str
    subject: Subject
    state: JobState
    priority: Priority
    attempt: int
    parameters: Mapping[str, Any]
    retry_of: str
    cancel_requested: bool
    keep_partial: bool
    last_sequence: int
    fraction: float
    failure: Failure | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    assets: tuple[Asset, ...] = ()
    # Where in a trace it was submitted; "" outside of any.
    traceparent: str = ""


@dataclass(frozen=True, kw_only=True)
class OpenJob:
    """As much of a job that has not ended as tells whether somebody has to be roused for it."""

    id: str
    created_at: datetime
    cancel_requested: bool


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The first event of every job."""

    kind: ClassVar[str] = "accepted"


@dataclass(frozen=True, kw_only=True)
class StateChanged:
    """The state of the event is the new one."""

    kind: ClassVar[str] = "state_changed"
    attempt: int
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ArtefactCommitted:
    """A result is stored; `asset` is its value as JSON."""

    kind: ClassVar[str] = "artefact_committed"
    asset: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ChunkCommitted:
    """A chunk of a long video is stored. Counted from 0."""

    kind: ClassVar[str] = "chunk_committed"
    chunk: int
    chunks: int


@dataclass(frozen=True, kw_only=True)
class PromptEnhanced:
    """A provider enriched the prompt."""

    kind: ClassVar[str] = "prompt_enhanced"
    prompt: str
    provider: str


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something that the user should know. `code` is UPPER_SNAKE_CASE."""

    kind: ClassVar[str] = "notice"
    code: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The last event of a job that failed."""

    kind: ClassVar[str] = "failed"
    failure: Failure


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Stands for events that are no longer kept."""

    kind: ClassVar[str] = "snapshot"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Steps done of a stage, the share of the whole job (0 to 1, never falling), and seconds to its end."""

    kind: ClassVar[str] = "progress"
    stage: str
    step: int
    steps: int
    fraction: float
    eta_s: float | None


@dataclass(frozen=True, kw_only=True)
class QueuePosition:
    """Place in the queue for accelerator memory, 1 is next."""

    kind: ClassVar[str] = "queue_position"
    position: int
    eta_s: float | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A small JPEG of the result so far, with its size in pixels."""

    kind: ClassVar[str] = "preview"
    image: bytes
    width: int
    height: int


DurableBody = Accepted | StateChanged | ArtefactCommitted | ChunkCommitted | PromptEnhanced | Notice | Failed | Snapshot
EphemeralBody = Progress | QueuePosition | Preview

DURABLE_BODIES: Final[Mapping[str, type[DurableBody]]] = {
    body.kind: body
    for body in (Accepted, StateChanged, ArtefactCommitted, ChunkCommitted, PromptEnhanced, Notice, Failed, Snapshot)
}


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job that is asked for. `parameters` hold the request with every default filled in, the seed included.

    `request_hash` names the request as it came: a repeat of `request_id` must bring the same one.
    """

    kind: JobKind
    subject: Subject
    parameters: Mapping[str, Any]
    priority: Priority = Priority.NORMAL
    request_id: str = ""
    request_hash: str = ""
    retry_of: str = ""
    # What the user should know from the beginning, recorded with the job.
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """Something that happened to a job.

    A durable event carries the next sequence of its job; an ephemeral one that of the latest durable event.
    """

    job_id: str
    sequence: int
    state: JobState
    subject: Subject
    time: datetime
    body: DurableBody | EphemeralBody

    @property
    def durable(self) -> bool:
        """Whether the event is kept."""
        return self.body.kind in DURABLE_BODIES
