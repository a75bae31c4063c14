"""Pages of a list: at most so many, and a token that continues behind the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from milimo_runtime.limits import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


def page_size(asked: int) -> int:
    """The size of a page: as asked, or the default for 0."""
    return asked or PAGE_SIZE


def cut(found: Sequence[T], size: int, token: Callable[[T], str]) -> tuple[Sequence[T], str]:
    """A page of `found`, which was read with a limit of `size` + 1, and the token of the next; "" on the last page."""
    page = found[:size]
    return page, token(page[-1]) if len(found) > size else ""
