"""A project's assets, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo_runtime.assets import Asset, AssetKind, from_row
from milimo_runtime.paging import behind
from milimo_runtime.schema import AssetRow
from sqlalchemy import select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milimo_runtime.paging import Place
    from sqlalchemy.orm import Session


def list_assets(
    session: Session, project_id: str, *, kind: AssetKind | None, after: Place | None, limit: int
) -> Sequence[Asset]:
    """Assets of a project, newest first, at most `limit`; `after` is where the page before ended."""
    query = (
        select(AssetRow)
        .where(AssetRow.project_id == project_id)
        .order_by(AssetRow.created_at.desc(), AssetRow.id.desc())
        .limit(limit)
    )
    if kind is not None:
        query = query.where(AssetRow.kind == kind.value)
    if after is not None:
        query = query.where(behind(after, AssetRow.created_at, AssetRow.id))
    return [from_row(row) for row in session.scalars(query)]
