"""The asyncio twin of `transport`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc
import grpc.aio

from milimo.endpoint import CALL_SECONDS, CHANNEL_OPTIONS, Endpoint
from milimo.errors import from_rpc_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

T = TypeVar("T")


def open_channel(endpoint: Endpoint) -> Channel:
    """A channel that connects when it is first used, and again by itself. Needs a running event loop."""
    if endpoint.tls:
        credentials = grpc.ssl_channel_credentials()
        inner = grpc.aio.secure_channel(endpoint.target, credentials, options=CHANNEL_OPTIONS)
    else:
        inner = grpc.aio.insecure_channel(endpoint.target, options=CHANNEL_OPTIONS)
    return Channel(inner, endpoint.metadata)


class Call(Generic[T]):
    """A call that is awaited for its one answer."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __await__(self) -> Generator[Any, None, T]:
        return self._answer().__await__()

    async def _answer(self) -> T:
        try:
            answer: T = await self._call
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


class Responses(Generic[T]):
    """The messages of a server stream. Everything else of the gRPC call is there too, such as `cancel()`."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def __aiter__(self) -> AsyncIterator[T]:
        try:
            async for message in self._call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


class _Method:
    """A method of either kind: `shape` is Call or Responses."""

    def __init__(
        self, inner: Any, shape: type[Any], metadata: tuple[tuple[str, str], ...], timeout: float | None
    ) -> None:
        self._inner = inner
        self._shape = shape
        self._metadata = metadata
        self._timeout = timeout

    def __call__(self, request: Any, **options: Any) -> Any:
        timeout = options.pop("timeout", None)
        metadata = (*(options.pop("metadata", None) or ()), *self._metadata)
        timeout = self._timeout if timeout is None else timeout
        return self._shape(self._inner(request, timeout=timeout, metadata=metadata, **options))


class Channel(grpc.aio.Channel):
    """Wraps another channel; made for the generated stubs."""

    def __init__(self, inner: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self._inner = inner
        self._metadata = metadata

    def unary_unary(self, method: str, *serializers: Any, **options: Any) -> Any:
        """One request, one answer, within two and a half minutes unless `timeout` says otherwise."""
        return _Method(self._inner.unary_unary(method, *serializers, **options), Call, self._metadata, CALL_SECONDS)

    def stream_unary(self, method: str, *serializers: Any, **options: Any) -> Any:
        """A stream of requests, one answer."""
        return _Method(self._inner.stream_unary(method, *serializers, **options), Call, self._metadata, None)

    def unary_stream(self, method: str, *serializers: Any, **options: Any) -> Any:
        """One request, a stream of answers."""
        return _Method(self._inner.unary_stream(method, *serializers, **options), Responses, self._metadata, None)

    def stream_stream(self, method: str, *serializers: Any, **options: Any) -> Any:
        """A stream each way."""
        return _Method(self._inner.stream_stream(method, *serializers, **options), Responses, self._metadata, None)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """How the connection is."""
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Returns when the connection is no longer as it was."""
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Returns when there is a connection."""
        await self._inner.channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Ends every call."""
        await self._inner.close(grace)

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
