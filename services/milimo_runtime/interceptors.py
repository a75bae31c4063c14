"""What happens around every call: request rules, errors to statuses, a deadline, one log line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import protovalidate
from google.protobuf.message import Message
from grpc_status import rpc_status

from milimo_runtime import statuses
from milimo_runtime.errors import FieldViolation, MilimoError
from milimo_runtime.limits import UNARY_SECONDS, UPLOAD_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from google.rpc import status_pb2

log = logging.getLogger(__name__)

# Methods of other packages (health, reflection) bring their own conventions.
PREFIX = "/milimo.v1."


class InvalidRequest(MilimoError):
    """Fields break the rules that are written in the contract."""

    status = "INVALID_ARGUMENT"
    default_reason = "INVALID_FIELD"


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
    violations = []
    for violation in protovalidate.collect_violations(message):
        field, text = _path(violation), violation.proto.message
        if not field and ": " in text:
            # Rules of a whole message name the field that is most at fault: "points: give at least one".
            field, text = text.split(": ", 1)
        violations.append(FieldViolation(field=field, description=text or violation.proto.rule_id))
    if violations:
        text = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        raise InvalidRequest(text, violations=violations)


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the handlers of all four call shapes in one way."""

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

    def _unary(self, handler: grpc.RpcMethodHandler[Any, Any], method: str) -> grpc.RpcMethodHandler[Any, Any]:
        inner: Any = handler.stream_unary if handler.request_streaming else handler.unary_unary
        limit = UPLOAD_SECONDS if handler.request_streaming else UNARY_SECONDS

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async with _conversation(method, context):
                async with asyncio.timeout(limit):
                    return await inner(_checked(request, handler.request_streaming), context)

        wrap = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return wrap(call, handler.request_deserializer, handler.response_serializer)

    def _streaming(self, handler: grpc.RpcMethodHandler[Any, Any], method: str) -> grpc.RpcMethodHandler[Any, Any]:
        inner: Any = handler.stream_stream if handler.request_streaming else handler.unary_stream

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            async with _conversation(method, context):
                responses = inner(_checked(request, handler.request_streaming), context)
                async with contextlib.aclosing(responses):
                    async for response in responses:
                        yield response

        wrap = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
        return wrap(call, handler.request_deserializer, handler.response_serializer)


def _checked(request: Any, streaming: bool) -> Any:
    """The request after its rules were checked; of a stream, each message as it comes."""
    if streaming:
        return _checked_stream(request)
    check_request(request)
    return request


async def _checked_stream(requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
    async for request in requests:
        check_request(request)
        yield request


@contextlib.asynccontextmanager
async def _conversation(method: str, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
    """Turns what the handler raises into a status, and writes the call's log line."""
    started = time.monotonic()
    code = "OK"
    try:
        yield
    except MilimoError as error:
        code = error.status
        await _abort(context, statuses.to_status(error))
    except TimeoutError:
        code = "DEADLINE_EXCEEDED"
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the server's time limit for this call has passed")
    except (asyncio.CancelledError, GeneratorExit):
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
        level = logging.INFO if code == "OK" else logging.WARNING
        elapsed = round((time.monotonic() - started) * 1000, 2)
        log.log(level, "call", extra={"action": "call", "method": method, "code": code, "ms": elapsed})


async def _abort(context: grpc.aio.ServicerContext[Any, Any], status: status_pb2.Status) -> None:
    rich = rpc_status.to_status(status)
    await context.abort(rich.code, rich.details or "", rich.trailing_metadata or ())
