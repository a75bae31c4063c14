"""Pages of a list, by age: at most so many, no more than fit a message, and a token that goes on behind them."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import tuple_

from milimo_runtime.errors import InvalidArgument
from milimo_runtime.limits import MESSAGE_BYTES, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.message import Message
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import InstrumentedAttribute

T = TypeVar("T")
M = TypeVar("M", bound="Message")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# Of a message: the token, and for each item its tag and length.
_TOKEN_BYTES: Final = 1024
_ITEM_BYTES: Final = 8


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


def beyond(
    place: Place, created_at: InstrumentedAttribute[datetime], id_: InstrumentedAttribute[str]
) -> ColumnElement[bool]:
    """The condition that a row comes after the place when older ones, and then smaller ids, come first."""
    return tuple_(created_at, id_) > tuple_(place.time, place.id)


def page_size(asked: int) -> int:
    """The size of a page: as asked, or the default for 0."""
    return asked or PAGE_SIZE


def cut(
    found: Sequence[T],
    size: int,
    token: Callable[[T], str],
    message: Callable[[T], M],
    *,
    max_bytes: int = MESSAGE_BYTES,
) -> tuple[Sequence[M], str]:
    """A page of `found`, which was read with a limit of `size` + 1, and the token of the next; "" on the last page.

    It ends early when its messages would take more than `max_bytes`; one item is always on it.
    """
    page: list[M] = []
    left = max_bytes - _TOKEN_BYTES
    for item in found[:size]:
        made = message(item)
        left -= made.ByteSize() + _ITEM_BYTES
        if page and left < 0:
            break
        page.append(made)
    return page, token(found[len(page) - 1]) if len(found) > len(page) else ""
