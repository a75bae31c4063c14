"""Pages of a list, newest first: at most so many, and a token that continues behind the last one."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import tuple_

from milimo_runtime.errors import InvalidArgument
from milimo_runtime.limits import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import InstrumentedAttribute

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a page ended: the time and the id of its last item. It holds also when that item is gone."""

    time: datetime
    id: str

    @property
    def token(self) -> str:
        """As an opaque text, for the next request."""
        text = f"{(self.time - _EPOCH) // _MICROSECOND} {self.id}"
        return base64.urlsafe_b64encode(text.encode()).decode()


def place_of(token: str) -> Place | None:
    """What a page token says; None for the first page. Raises InvalidArgument when it is not one."""
    if not token:
        return None
    try:
        microseconds, id_ = base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode().split(" ")
        return Place(time=_EPOCH + int(microseconds) * _MICROSECOND, id=id_)
    except (binascii.Error, UnicodeError, ValueError, OverflowError) as error:
        raise InvalidArgument("page_token", "is not one that this list has given out") from error


def behind(
    place: Place, created_at: InstrumentedAttribute[datetime], id_: InstrumentedAttribute[str]
) -> ColumnElement[bool]:
    """The condition that a row comes after the place when newer ones, and then greater ids, come first."""
    return tuple_(created_at, id_) < tuple_(place.time, place.id)


def page_size(asked: int) -> int:
    """The size of a page: as asked, or the default for 0."""
    return asked or PAGE_SIZE


def cut(found: Sequence[T], size: int, token: Callable[[T], str]) -> tuple[Sequence[T], str]:
    """A page of `found`, which was read with a limit of `size` + 1, and the token of the next; "" on the last page."""
    page = found[:size]
    return page, token(page[-1]) if len(found) > size else ""
