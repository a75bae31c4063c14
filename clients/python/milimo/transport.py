"""A synchronous channel whose calls raise MilimoError, carry the key, and do not wait for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc

from milimo.endpoint import CALL_SECONDS, CHANNEL_OPTIONS, Endpoint
from milimo.errors import from_rpc_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


def open_channel(endpoint: Endpoint) -> Channel:
    """A channel that connects when it is first used, and again by itself."""
    if endpoint.tls:
        inner = grpc.secure_channel(endpoint.target, grpc.ssl_channel_credentials(), options=CHANNEL_OPTIONS)
    else:
        inner = grpc.insecure_channel(endpoint.target, options=CHANNEL_OPTIONS)
    return Channel(inner, endpoint.metadata)


class Responses(Generic[T]):
    """The messages of a server stream. Everything else of the gRPC call is there too, such as `cancel()`."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        try:
            message: T = next(self._call)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


class _Method:
    """A method that answers with one message. `future` and `with_call` are gRPC's own, with its own errors."""

    def __init__(self, inner: Any, metadata: tuple[tuple[str, str], ...], timeout: float | None) -> None:
        self._inner = inner
        self._metadata = metadata
        self._timeout = timeout

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        timeout = options.pop("timeout", None)
        metadata = (*(options.pop("metadata", None) or ()), *self._metadata)
        return {"timeout": self._timeout if timeout is None else timeout, "metadata": metadata, **options}

    def __call__(self, request: Any, **options: Any) -> Any:
        try:
            return self._inner(request, **self._options(options))
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def future(self, request: Any, **options: Any) -> Any:
        return self._inner.future(request, **self._options(options))

    def with_call(self, request: Any, **options: Any) -> Any:
        return self._inner.with_call(request, **self._options(options))


class _StreamMethod(_Method):
    """A method that answers with a stream, which has no time limit of its own."""

    def __call__(self, request: Any, **options: Any) -> Any:
        return Responses(self._inner(request, **self._options(options)))


class Channel(grpc.Channel):
    """Wraps another channel; made for the generated stubs."""

    def __init__(self, inner: grpc.Channel, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self._inner = inner
        self._metadata = metadata

    def unary_unary(self, method: str, *serializers: Any, **options: Any) -> Any:
        """One request, one answer, within two and a half minutes unless `timeout` says otherwise."""
        return _Method(self._inner.unary_unary(method, *serializers, **options), self._metadata, CALL_SECONDS)

    def stream_unary(self, method: str, *serializers: Any, **options: Any) -> Any:
        """A stream of requests, one answer."""
        return _Method(self._inner.stream_unary(method, *serializers, **options), self._metadata, None)

    def unary_stream(self, method: str, *serializers: Any, **options: Any) -> Any:
        """One request, a stream of answers."""
        return _StreamMethod(self._inner.unary_stream(method, *serializers, **options), self._metadata, None)

    def stream_stream(self, method: str, *serializers: Any, **options: Any) -> Any:
        """A stream each way."""
        return _StreamMethod(self._inner.stream_stream(method, *serializers, **options), self._metadata, None)

    def subscribe(self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool = False) -> None:
        """Tells of changes of the connection."""
        self._inner.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Ends a subscription."""
        self._inner.unsubscribe(callback)

    def close(self) -> None:
        """Ends every call."""
        self._inner.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
