"""Elements: their values, and the transactions that make, change and delete them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from milimo_runtime.answered import one_at_a_time
from milimo_runtime.assets import AssetKind, new_id, require_project
from milimo_runtime.database import now
from milimo_runtime.elements import require_element
from milimo_runtime.errors import AlreadyExists, FailedPrecondition, FieldViolation, InvalidArgument, NotFound
from milimo_runtime.name_search import fold
from milimo_runtime.paging import beyond
from milimo_runtime.schema import AssetRow, ElementRow
from sqlalchemy import select

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from milimo_runtime.paging import Place
    from sqlalchemy.orm import Session

# What a caller may change.
EDITABLE: Final = frozenset({"name", "type", "trigger_word", "description", "image_asset_ids", "lora"})
# As long as the contract lets one be.
_TRIGGER_CHARACTERS: Final = 200


class ElementType(StrEnum):
    """What an element is."""

    CHARACTER = "character"
    LOCATION = "location"
    OBJECT = "object"


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A LoRA of the model registry; without a weight its default strength."""

    name: str
    weight: float | None = None


@dataclass(frozen=True, kw_only=True)
class Element:
    """A recurring character, location or object. `type` is None only in requests."""

    project_id: str
    name: str = ""
    type: ElementType | None = None
    trigger_word: str = ""
    description: str = ""
    image_asset_ids: tuple[str, ...] = ()
    lora: Lora | None = None
    id: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None


def create_element(session: Session, element: Element, *, loras: Collection[str]) -> Element:
    """Stores a new element and returns it with its id, trigger word and times. `loras` are the names that there are.

    Raises:
        NotFound: there is no such project, image asset or LoRA.
        InvalidArgument: a field is wrong.
        AlreadyExists: another element of the project has the trigger word (TRIGGER_TAKEN).
    """
    require_project(session, element.project_id, stays=True)
    element = _checked(session, element, EDITABLE, loras)
    time = now()
    row = ElementRow(id=new_id(), project_id=element.project_id, created_at=time, updated_at=time)
    _fill(row, element)
    session.add(row)
    return element_of(row)


def update_element(session: Session, element: Element, fields: Collection[str], *, loras: Collection[str]) -> Element:
    """Changes exactly the named fields. Raises as `create_element` does, also for a field that cannot be changed."""
    for field in fields:
        if field not in EDITABLE:
            raise InvalidArgument(
                "update_mask", f"{field!r} cannot be changed; these can: {', '.join(sorted(EDITABLE))}"
            )
    row = require_element(session, element.id, field_name="element.id")
    session.refresh(row, with_for_update=True)
    changed = replace(element_of(row), **{field: getattr(element, field) for field in fields})
    _fill(row, _checked(session, changed, fields, loras))
    row.updated_at = now()
    return element_of(row)


def delete_element(session: Session, element_id: str) -> None:
    """Deletes the element; its images stay. Raises NotFound."""
    session.delete(require_element(session, element_id))


def list_elements(session: Session, project_id: str, *, after: Place | None, limit: int) -> Sequence[Element]:
    """Elements of a project, the oldest first, at most `limit`; `after` is where the page before ended."""
    query = (
        select(ElementRow)
        .where(ElementRow.project_id == project_id)
        .order_by(ElementRow.created_at, ElementRow.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(beyond(after, ElementRow.created_at, ElementRow.id))
    return [element_of(row) for row in session.scalars(query)]


def require_unused(session: Session, asset: AssetRow) -> None:
    """Raises FailedPrecondition (ASSET_IN_USE), naming the elements that show the asset.

    The asset's row is locked by the transaction: an element that takes it meanwhile waits.
    """
    query = select(ElementRow.id, ElementRow.name, ElementRow.image_asset_ids).where(
        ElementRow.project_id == asset.project_id
    )
    users = [(id_, name) for id_, name, images in session.execute(query) if asset.id in images]
    if users:
        named = ", ".join(f"{name} ({id_})" for id_, name in users[:5])
        more = f" and {len(users) - 5} more" if len(users) > 5 else ""
        description = f"shows the element {named}{more}; take it from the element's images first"
        raise FailedPrecondition(
            f"asset_id: {description}",
            reason="ASSET_IN_USE",
            violations=(FieldViolation(field="asset_id", description=description),),
            metadata={"element_id": users[0][0]},
        )


def element_of(row: ElementRow) -> Element:
    """The value of a row."""
    return Element(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        type=ElementType(row.type),
        trigger_word=row.trigger_word,
        description=row.description,
        image_asset_ids=tuple(row.image_asset_ids),
        lora=None if row.lora is None else Lora(name=row.lora, weight=row.lora_weight),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _fill(row: ElementRow, element: Element) -> None:
    assert element.type is not None
    row.name = element.name
    row.type = element.type.value
    row.trigger_word = element.trigger_word
    row.trigger_key = fold(element.trigger_word)
    row.description = element.description
    row.image_asset_ids = list(element.image_asset_ids)
    row.lora = None if element.lora is None else element.lora.name
    row.lora_weight = None if element.lora is None else element.lora.weight


def _checked(session: Session, element: Element, fields: Collection[str], loras: Collection[str]) -> Element:
    """The element with its default trigger, after all that was given has been looked at."""
    element = replace(element, name=element.name.strip(), trigger_word=element.trigger_word.strip())
    if "name" in fields:
        _require_word("element.name", element.name)
    if element.type is None:
        raise InvalidArgument("element.type", "is missing: expected a character, a location or an object")
    if not element.trigger_word:
        element = replace(element, trigger_word=f"@{''.join(element.name.split())}"[:_TRIGGER_CHARACTERS])
    if "trigger_word" in fields:
        _check_trigger(session, element)
    if "image_asset_ids" in fields:
        _check_images(session, element)
    if "lora" in fields and element.lora is not None and element.lora.name not in loras:
        raise NotFound("LoRA", element.lora.name, field="element.lora.name")
    return element


def _require_word(field: str, text: str) -> None:
    if not any(map(str.isalnum, text)):
        raise InvalidArgument(field, "holds no letter and no digit: no prompt could name it")


def _check_trigger(session: Session, element: Element) -> None:
    trigger = element.trigger_word
    _require_word("element.trigger_word", trigger)
    if any(map(str.isspace, trigger)):
        raise InvalidArgument("element.trigger_word", "holds white space; a trigger is one word, such as @Zoe")
    # Whoever asks at the same time waits, and then finds this one; SQLite's write transactions exclude each other.
    one_at_a_time(session, f"triggers of {element.project_id}")
    query = select(ElementRow).where(
        ElementRow.project_id == element.project_id,
        ElementRow.trigger_key == fold(trigger),
        ElementRow.id != element.id,
    )
    other = session.scalar(query)
    if other is not None:
        description = f"{trigger!r} is the trigger of {other.name!r} ({other.id}) already; choose another one"
        raise AlreadyExists(
            f"element.trigger_word: {description}",
            reason="TRIGGER_TAKEN",
            violations=(FieldViolation(field="element.trigger_word", description=description),),
            metadata={"element_id": other.id},
        )


def _check_images(session: Session, element: Element) -> None:
    """The images exist in the project, each once; they stay until the transaction's end."""
    seen: set[str] = set()
    for index, asset_id in enumerate(element.image_asset_ids):
        field = f"element.image_asset_ids[{index}]"
        row = session.get(AssetRow, asset_id, with_for_update={"read": True, "key_share": True})
        if row is None or row.project_id != element.project_id:
            raise NotFound("asset", asset_id, field=field)
        if row.kind != AssetKind.IMAGE:
            raise InvalidArgument(field, f"is a {row.kind}; an image is expected")
        if asset_id in seen:
            raise InvalidArgument(field, "is named twice")
        seen.add(asset_id)
