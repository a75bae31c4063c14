"""RPCs of the contract whose feature does not exist yet: they say so, and which one it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from milimo_runtime.errors import Unimplemented

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine


def later(feature: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    """A unary method that answers UNIMPLEMENTED and names the feature."""

    async def method(_self: object, _request: object, _context: object) -> Any:
        raise Unimplemented(feature)

    return method


def later_stream(feature: str) -> Callable[..., AsyncIterator[Any]]:
    """A streaming method that answers UNIMPLEMENTED and names the feature."""

    async def method(_self: object, _request: object, _context: object) -> AsyncIterator[Any]:
        raise Unimplemented(feature)
        yield  # Makes it a stream.

    return method
