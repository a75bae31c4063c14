"""A project's assets, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo_runtime.assets import Asset, AssetKind, from_row
from milimo_runtime.errors import InvalidArgument
from milimo_runtime.schema import AssetRow
from sqlalchemy import select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session


def list_assets(
    session: Session, project_id: str, *, kind: AssetKind | None, before: str, limit: int
) -> Sequence[Asset]:
    """Assets of a project, newest first, at most `limit`; `before` is the id of the last one of the page before.

    Raises:
        InvalidArgument: `before` names no asset.
    """
    query = (
        select(AssetRow)
        .where(AssetRow.project_id == project_id)
        .order_by(AssetRow.created_at.desc(), AssetRow.id.desc())
        .limit(limit)
    )
    if kind is not None:
        query = query.where(AssetRow.kind == kind.value)
    if before:
        last = session.get(AssetRow, before)
        if last is None:
            raise InvalidArgument("page_token", "is not one that this list has given out")
        query = query.where(
            (AssetRow.created_at < last.created_at)
            | ((AssetRow.created_at == last.created_at) & (AssetRow.id < last.id))
        )
    return [from_row(row) for row in session.scalars(query)]
