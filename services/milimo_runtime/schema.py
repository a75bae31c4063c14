"""The tables of the application. DBOS keeps its own in files or schemas of their own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

if TYPE_CHECKING:
    from sqlalchemy import Dialect

_JSON = JSON().with_variant(JSONB(), "postgresql")


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC, with its zone on both databases: SQLite drops it, PostgreSQL answers in the session's zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The time in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can change them on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012
        datetime: UtcDateTime,
        dict[str, Any]: _JSON,
        list[Any]: _JSON,
        int: BigInteger,
    }


class ProjectRow(Base):
    """A film, or a part of one."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    resolution_w: Mapped[int]
    resolution_h: Mapped[int]
    fps: Mapped[int]
    seed: Mapped[int | None]
    script_content: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(index=True)
    updated_at: Mapped[datetime]


class SceneRow(Base):
    """A scene of a project's storyboard."""

    __tablename__ = "scenes"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    index: Mapped[int]
    name: Mapped[str]
    script_content: Mapped[str]


class ShotRow(Base):
    """A shot, with how its video is made and what became of it."""

    __tablename__ = "shots"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    scene_id: Mapped[str | None] = mapped_column(ForeignKey("scenes.id", ondelete="CASCADE"), index=True)
    index: Mapped[int]
    track_index: Mapped[int]
    start_frame: Mapped[int]
    trim_in: Mapped[int]
    trim_out: Mapped[int]
    action: Mapped[str]
    dialogue: Mapped[str]
    character: Mapped[str]
    shot_type: Mapped[str]
    matched_elements: Mapped[list[Any]]
    # The video parameters of the contract, as JSON; fields that are not set are not there.
    video: Mapped[dict[str, Any]]
    auto_continue: Mapped[bool]
    enhanced_prompt: Mapped[str]
    status: Mapped[str]
    last_job_id: Mapped[str | None]
    video_asset_id: Mapped[str | None]
    thumbnail_asset_id: Mapped[str | None]


class ElementRow(Base):
    """A recurring character, location or object."""

    __tablename__ = "elements"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    type: Mapped[str]
    trigger_word: Mapped[str]
    # The trigger as prompts are searched for it, without difference of case.
    trigger_key: Mapped[str]
    description: Mapped[str]
    image_asset_ids: Mapped[list[Any]]
    lora: Mapped[str | None]
    lora_weight: Mapped[float | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("project_id", "trigger_key"),)


class AssetRow(Base):
    """A file in the media store."""

    __tablename__ = "assets"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    name: Mapped[str]
    media_type: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    num_frames: Mapped[int]
    fps: Mapped[float]
    duration_seconds: Mapped[float]
    bytes: Mapped[int]
    sha256: Mapped[str]
    # Keys in the media store; the second is empty when there is no thumbnail.
    key: Mapped[str]
    thumbnail_key: Mapped[str]
    job_id: Mapped[str | None] = mapped_column(index=True)
    # Names the artefact within its job, so that a repeated commit finds the first one.
    artefact: Mapped[str | None]
    parameters: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(index=True)

    __table_args__ = (UniqueConstraint("job_id", "artefact"),)


class JobRow(Base):
    """A job: what was asked, where it stands, who works on it."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    # The service that runs it, such as "video", and where its process answers.
    service: Mapped[str]
    worker_address: Mapped[str]
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    shot_id: Mapped[str | None]
    element_id: Mapped[str | None]
    state: Mapped[str]
    priority: Mapped[int]
    attempt: Mapped[int]
    # The request with every default filled in.
    parameters: Mapped[dict[str, Any]]
    retry_of: Mapped[str | None]
    # Where in a trace the job was submitted, as W3C's header: whoever works on it goes on from there.
    traceparent: Mapped[str | None]
    cancel_requested: Mapped[bool]
    keep_partial: Mapped[bool]
    last_sequence: Mapped[int]
    fraction: Mapped[float]
    error: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_jobs_service_state", "service", "state"), Index("ix_jobs_created_at", "created_at"))


class JobEventRow(Base):
    """A durable event of a job."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str]
    state: Mapped[str]
    body: Mapped[dict[str, Any]]
    time: Mapped[datetime]


class AnsweredRow(Base):
    """The answer to a mutating request that carried a request_id, so that a repeat gets the same one.

    Of a request for a job it is the job's id: a repeat finds the job as it stands then.
    """

    __tablename__ = "answered_requests"

    request_id: Mapped[str] = mapped_column(primary_key=True)
    method: Mapped[str]
    request_hash: Mapped[str]
    response: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(index=True)


class SettingRow(Base):
    """A setting that users change at run time."""

    __tablename__ = "settings"

    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[dict[str, Any]]
