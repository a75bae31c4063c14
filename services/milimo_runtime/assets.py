"""Assets: files in the media store, with the row that describes each."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from milimo_runtime.errors import NotFound
from milimo_runtime.schema import AssetRow, ProjectRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sqlalchemy.orm import Session

    from milimo_runtime.media import MediaStore


class AssetKind(StrEnum):
    """What a file is."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    MASK = "mask"


@dataclass(frozen=True, kw_only=True)
class MediaFacts:
    """What decoding a file told: pixels, frames, frames per second, seconds. Zero where it does not apply."""

    kind: AssetKind
    media_type: str
    extension: str
    width: int = 0
    height: int = 0
    num_frames: int = 0
    fps: float = 0.0
    duration_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Asset:
    """An asset as its row says. `key` and `thumbnail_key` name its files in the media store."""

    id: str
    project_id: str
    kind: AssetKind
    name: str
    media_type: str
    width: int
    height: int
    num_frames: int
    fps: float
    duration_seconds: float
    bytes: int
    sha256: str
    key: str
    thumbnail_key: str
    created_at: datetime
    job_id: str = ""
    artefact: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As stored in an event."""
        return {**asdict(self), "kind": self.kind.value, "created_at": self.created_at.isoformat()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Asset:
        """From what `to_json` made."""
        return cls(
            **{
                **value,
                "kind": AssetKind(value["kind"]),
                "created_at": datetime.fromisoformat(value["created_at"]),
            }
        )


def new_id() -> str:
    """An opaque id: 32 hexadecimal digits."""
    return uuid.uuid4().hex


def from_row(row: AssetRow) -> Asset:
    """The value of a row."""
    return Asset(
        id=row.id,
        project_id=row.project_id,
        kind=AssetKind(row.kind),
        name=row.name,
        media_type=row.media_type,
        width=row.width,
        height=row.height,
        num_frames=row.num_frames,
        fps=row.fps,
        duration_seconds=row.duration_seconds,
        bytes=row.bytes,
        sha256=row.sha256,
        key=row.key,
        thumbnail_key=row.thumbnail_key,
        created_at=row.created_at,
        job_id=row.job_id or "",
        artefact=row.artefact or "",
        parameters=row.parameters,
    )


def to_row(asset: Asset) -> AssetRow:
    """The row of a value."""
    return AssetRow(
        **{
            **asdict(asset),
            "kind": asset.kind.value,
            "job_id": asset.job_id or None,
            "artefact": asset.artefact or None,
            "parameters": dict(asset.parameters),
        }
    )


def require_project(
    session: Session, project_id: str, *, field_name: str = "project_id", stays: bool = False
) -> ProjectRow:
    """The project's row; with `stays`, nobody deletes it before the transaction ends. Raises NotFound.

    SQLite's write transactions exclude each other anyway.
    """
    lock = {"read": True, "key_share": True} if stays else None
    row = session.get(ProjectRow, project_id, with_for_update=lock)
    if row is None:
        raise NotFound("project", project_id, field=field_name)
    return row


def require_asset(
    session: Session, asset_id: str, *, field_name: str = "asset_id", project_id: str | None = None
) -> Asset:
    """The asset; with `project_id`, only if it belongs to that project. Raises NotFound, naming `field_name`."""
    row = session.get(AssetRow, asset_id)
    if row is None or (project_id is not None and row.project_id != project_id):
        raise NotFound("asset", asset_id, field=field_name)
    return from_row(row)


def assets_of_jobs(session: Session, job_ids: Sequence[str]) -> Mapping[str, Sequence[Asset]]:
    """The results of each of the jobs in the order of their making, read at once."""
    found: dict[str, list[Asset]] = {job_id: [] for job_id in job_ids}
    if job_ids:
        query = select(AssetRow).where(AssetRow.job_id.in_(job_ids)).order_by(AssetRow.created_at, AssetRow.id)
        for row in session.scalars(query):
            asset = from_row(row)
            found[asset.job_id].append(asset)
    return found


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def delete_asset_files(media: MediaStore, asset: Asset) -> None:
    """Removes the asset's files; missing ones are no error."""
    for key in (asset.key, asset.thumbnail_key):
        if key:
            media.delete(key)


def artefact_id(job_id: str, artefact: str) -> str:
    """The id of a job's result: the same each time that it is made, so that a repeat leaves no file behind."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{job_id}/{artefact}").hex
