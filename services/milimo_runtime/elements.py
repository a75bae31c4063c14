"""The elements of projects in the database, as every service reads them, and the pictures that jobs add to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from milimo_runtime.assets import from_row
from milimo_runtime.database import now
from milimo_runtime.element_prompts import PromptElement
from milimo_runtime.errors import InvalidArgument, NotFound
from milimo_runtime.limits import PROMPT_CHARACTERS
from milimo_runtime.schema import AssetRow, ElementRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.orm import Session

    from milimo_runtime.assets import Asset
    from milimo_runtime.element_prompts import PromptElements, ResolvedPrompt

# As many images as an element has.
ELEMENT_IMAGES: Final = 100
_NAMES_TOLD: Final = 8


def prompt_elements(session: Session, project_id: str) -> Sequence[PromptElement]:
    """What prompts need of the project's elements, the oldest first."""
    query = select(ElementRow).where(ElementRow.project_id == project_id).order_by(ElementRow.created_at, ElementRow.id)
    return [
        PromptElement(
            id=row.id,
            name=row.name,
            trigger_word=row.trigger_word,
            description=row.description,
            image_ids=tuple(row.image_asset_ids),
        )
        for row in session.scalars(query)
    ]


def asked_elements(
    elements: Sequence[PromptElement], ids: Sequence[str], *, field_name: str
) -> Sequence[PromptElement]:
    """Those of the project's elements that have these ids. Raises NotFound, naming `field_name` and the place."""
    by_id = {element.id: element for element in elements}
    for index, id_ in enumerate(ids):
        if id_ not in by_id:
            raise NotFound("element", id_, field=f"{field_name}[{index}]")
    return [by_id[id_] for id_ in ids]


def resolve_prompt(
    known: PromptElements, prompt: str, *, field_name: str, asked: Sequence[PromptElement] = ()
) -> ResolvedPrompt:
    """The prompt with its elements. Raises InvalidArgument when their descriptions make it too long."""
    resolved = known.resolve(prompt, asked=asked)
    if len(resolved.text) > PROMPT_CHARACTERS >= len(prompt):
        raise InvalidArgument(
            field_name,
            f"has {len(resolved.text)} characters with the descriptions of its elements; "
            f"at most {PROMPT_CHARACTERS} are accepted",
        )
    return resolved


def image_assets(session: Session, elements: Iterable[PromptElement]) -> Mapping[str, Asset]:
    """The images of the elements, by id; what was deleted meanwhile is not there."""
    ids = {image for element in elements for image in element.image_ids}
    if not ids:
        return {}
    return {row.id: from_row(row) for row in session.scalars(select(AssetRow).where(AssetRow.id.in_(ids)))}


def names_of(elements: Sequence[PromptElement]) -> str:
    """Names for people: "Zoë, Lighthouse and 3 more"."""
    more = len(elements) - _NAMES_TOLD
    return ", ".join(element.name for element in elements[:_NAMES_TOLD]) + (f" and {more} more" if more > 0 else "")


def require_element(
    session: Session, element_id: str, *, field_name: str = "element_id", project_id: str | None = None
) -> ElementRow:
    """The element's row; with `project_id`, only if it is of that project. Raises NotFound, naming `field_name`."""
    row = session.get(ElementRow, element_id)
    if row is None or (project_id is not None and row.project_id != project_id):
        raise NotFound("element", element_id, field=field_name)
    return row


def add_images(session: Session, element_id: str, asset_ids: Sequence[str]) -> None:
    """Adds images behind those that the element has, as far as they exist and it has room; one that is gone is left."""
    row = session.get(ElementRow, element_id, with_for_update=True)
    if row is None:
        return
    there = set(session.scalars(select(AssetRow.id).where(AssetRow.id.in_(asset_ids))))
    new = [asset_id for asset_id in asset_ids if asset_id in there and asset_id not in row.image_asset_ids]
    row.image_asset_ids = [*row.image_asset_ids, *new][:ELEMENT_IMAGES]
    row.updated_at = now()
