"""What happens around every call: request rules, errors to statuses, a deadline, one log line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import protovalidate
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from milimo_runtime import statuses, telemetry
from milimo_runtime.errors import DeadlineExceeded, FieldViolation, MilimoError
from milimo_runtime.limits import MESSAGE_BYTES, TEXT_SECONDS, UNARY_SECONDS, UPLOAD_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from google.rpc import status_pb2

log = logging.getLogger(__name__)

# Methods of other packages (health, reflection) bring their own conventions.
PREFIX = "/milimo.v1."
# Calls with one answer whose caller may wait longer than others do.
PATIENT = {"/milimo.v1.TextGenerationService/GenerateText": TEXT_SECONDS}


class InvalidRequest(MilimoError):
    """Fields break the rules that are written in the contract."""

    status = "INVALID_ARGUMENT"
    default_reason = "INVALID_FIELD"


class ResponseTooLarge(MilimoError):
    """The answer does not fit into one message: ask for less, such as a smaller page."""

    status = "RESOURCE_EXHAUSTED"
    default_reason = "RESPONSE_TOO_LARGE"


def _path(violation: protovalidate.Violation) -> str:
    """The field's path as a user writes it, "video.conditions[1].strength"; the message itself is ""."""
    text = ""
    field = violation.proto.field
    for element in field.elements if field else ():
        subscript = element.subscript
        text += f".{element.field_name}"
        if subscript is not None:
            text += f"[{subscript.value!r}]"
    return text.removeprefix(".")


def check_request(message: Message) -> None:
    """Checks a request against the rules of the contract.

    Raises:
        InvalidRequest: with one violation for each rule that is broken.
    """
    violations = list(_null_characters(message, ""))
    for violation in protovalidate.collect_violations(message):
        field, text = _path(violation), violation.proto.message
        if not field and ": " in text:
            # Rules of a whole message name the field that is most at fault: "points: give at least one".
            field, text = text.split(": ", 1)
        violations.append(FieldViolation(field=field, description=text or violation.proto.rule_id))
    if violations:
        text = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        raise InvalidRequest(text, violations=violations)


def _null_characters(message: Message, prefix: str) -> Iterator[FieldViolation]:
    """Texts that hold U+0000: PostgreSQL stores none, and no text has one in earnest."""
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        if field.type == FieldDescriptor.TYPE_STRING:
            texts = (value,) if isinstance(value, str) else tuple(value)
            if any("\0" in text for text in texts):
                yield FieldViolation(field=path, description="must not hold the character U+0000")
        elif isinstance(value, Message):
            yield from _null_characters(value, f"{path}.")
        elif field.type == FieldDescriptor.TYPE_MESSAGE and isinstance(value, Sequence):
            for index, item in enumerate(value):
                yield from _null_characters(item, f"{path}[{index}].")


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the handlers of all four call shapes in one way, and knows which calls are at work."""

    def __init__(self) -> None:
        self._calls: set[asyncio.Task[Any]] = set()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Returns the handler with the wrapping around it."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(PREFIX):
            return handler
        if handler.response_streaming:
            return self._streaming(handler, method)
        return self._unary(handler, method)

    async def settle(self, wait_s: float) -> None:
        """Waits until the calls that a stopped server has cancelled are over: what they use can be closed then."""
        calls = set(self._calls)
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait(calls, timeout=wait_s)

    def _unary(self, handler: grpc.RpcMethodHandler[Any, Any], method: str) -> grpc.RpcMethodHandler[Any, Any]:
        inner: Any = handler.stream_unary if handler.request_streaming else handler.unary_unary
        limit = UPLOAD_SECONDS if handler.request_streaming else PATIENT.get(method, UNARY_SECONDS)

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async with self._conversation(method, context):
                try:
                    async with asyncio.timeout(limit) as deadline:
                        return _fitting(await inner(_checked(request, handler), context), handler)
                except TimeoutError as error:
                    if not deadline.expired():
                        raise
                    raise DeadlineExceeded(f"the call took longer than {limit:g} s, the server's limit") from error

        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(call)
        return grpc.unary_unary_rpc_method_handler(call)

    def _streaming(self, handler: grpc.RpcMethodHandler[Any, Any], method: str) -> grpc.RpcMethodHandler[Any, Any]:
        inner: Any = handler.stream_stream if handler.request_streaming else handler.unary_stream

        # Writes the responses instead of yielding them: gRPC leaves a generator to the garbage collector when the
        # client goes away, and the event loop may end before that has closed it.
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            async with (
                self._conversation(method, context),
                contextlib.aclosing(inner(_checked(request, handler), context)) as responses,
            ):
                async for response in responses:
                    await context.write(_fitting(response, handler))

        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(call)
        return grpc.unary_stream_rpc_method_handler(call)

    @contextlib.asynccontextmanager
    async def _conversation(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
        """Turns what the handler raises into a status; writes the call's span and log line."""
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        started = time.monotonic()
        code = "OK"
        with telemetry.call_span(method, context) as span:
            try:
                yield
            except MilimoError as error:
                code = error.status
                await _abort(context, statuses.to_status(error))
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except grpc.aio.AioRpcError as error:
                remote = statuses.from_rpc_error(error)
                code = remote.status
                await _abort(context, statuses.to_status(remote))
            except (grpc.aio.AbortError, grpc.aio.BaseError):
                # The handler has answered with a status of its own.
                code = "ABORTED_BY_HANDLER"
                raise
            except Exception:  # Whatever else escapes is ours: the user gets an id, the log the details.
                error_id = uuid.uuid4().hex
                code = "INTERNAL"
                log.exception("call failed", extra={"action": "call_failed", "method": method, "error_id": error_id})
                await _abort(context, statuses.internal_status(error_id))
            finally:
                self._calls.discard(task)
                telemetry.tell_code(span, code)
                level = logging.INFO if code == "OK" else logging.WARNING
                elapsed = round((time.monotonic() - started) * 1000, 2)
                log.log(level, "call", extra={"action": "call", "method": method, "code": code, "ms": elapsed})


def _checked(request: Any, handler: grpc.RpcMethodHandler[Any, Any]) -> Any:
    """The request after its rules were checked; of a stream, each message as it comes. Raises InvalidRequest."""
    if handler.request_streaming:
        return _checked_stream(request, handler)
    return _checked_message(request, handler)


async def _checked_stream(requests: AsyncIterator[Any], handler: grpc.RpcMethodHandler[Any, Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _checked_message(request, handler)


def _checked_message(data: Any, handler: grpc.RpcMethodHandler[Any, Any]) -> Any:
    try:
        message: Message = handler.request_deserializer(data) if handler.request_deserializer else data
    except DecodeError as error:
        # gRPC itself would answer INTERNAL.
        raise InvalidRequest(f"the request is not a message of the contract: {error}") from error
    check_request(message)
    return message


def _fitting(response: Any, handler: grpc.RpcMethodHandler[Any, Any]) -> bytes:
    """The response as it travels; a service that tells many callers the same may have serialised it already.

    Raises ResponseTooLarge: gRPC itself would end the call with a bare status.
    """
    serialize: Callable[[Any], bytes] | None = None if isinstance(response, bytes) else handler.response_serializer
    data: bytes = serialize(response) if serialize else response
    if len(data) > MESSAGE_BYTES:
        raise ResponseTooLarge(
            f"the answer has {len(data)} bytes, and a message has at most {MESSAGE_BYTES}: ask for less at once, "
            "such as a smaller page_size, a part of the script, or a smaller image"
        )
    return data


async def _abort(context: grpc.aio.ServicerContext[Any, Any], status: status_pb2.Status) -> None:
    rich = rpc_status.to_status(status)
    await context.abort(rich.code, rich.details or "", rich.trailing_metadata or ())
