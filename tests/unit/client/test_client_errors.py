"""One exception for everything that can fail, with its code, reason, fields and retry time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc import code_pb2, status_pb2
from milimo import AsyncMilimo, Milimo, MilimoError, from_status
from milimo.v1.jobs_pb2 import GetJobRequest, WatchJobRequest
from milimo_runtime import errors as server_errors
from milimo_runtime.statuses import to_status

if TYPE_CHECKING:
    from .studio import Studio

CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
EVERYTHING = server_errors.ResourceExhausted(
    "512 requests wait already",
    reason="QUEUE_FULL",
    violations=[
        server_errors.FieldViolation(field="video.width", description="must be even"),
        server_errors.FieldViolation(field="video.fps", description="is none of these"),
    ],
    metadata={"waiting": "512"},
    retry_after_s=2.5,
)


def assert_is_everything(error: MilimoError) -> None:
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.message == str(error) == "512 requests wait already"
    assert error.reason == "QUEUE_FULL"
    assert [(item.field, item.description) for item in error.violations] == [
        ("video.width", "must be even"),
        ("video.fps", "is none of these"),
    ]
    assert error.retry_after == 2.5
    assert error.metadata == {"waiting": "512"}


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_every_code_comes_through(studio: Studio, address: str, code: grpc.StatusCode) -> None:
    studio.failures["GetJob"] = code
    with Milimo(address) as client, pytest.raises(MilimoError) as caught:
        client.jobs.GetJob(GetJobRequest(job_id="x"))
    assert caught.value.code is code
    assert code.name in caught.value.message
    assert caught.value.reason == ""
    assert caught.value.violations == ()
    assert isinstance(caught.value.__cause__, grpc.RpcError)


def test_details_of_a_unary_call(studio: Studio, address: str) -> None:
    studio.failures["GetJob"] = EVERYTHING
    with Milimo(address) as client, pytest.raises(MilimoError) as caught:
        client.jobs.GetJob(GetJobRequest(job_id="x"))
    assert_is_everything(caught.value)


def test_details_of_a_stream(studio: Studio, address: str) -> None:
    studio.failures["WatchJob"] = EVERYTHING
    with Milimo(address) as client, pytest.raises(MilimoError) as caught:
        list(client.jobs.WatchJob(WatchJobRequest(job_id="x")))
    assert_is_everything(caught.value)


async def test_details_of_asyncio_calls(studio: Studio, address: str) -> None:
    async with AsyncMilimo(address) as client:
        studio.failures["GetJob"] = EVERYTHING
        with pytest.raises(MilimoError) as caught:
            await client.jobs.GetJob(GetJobRequest(job_id="x"))
        assert_is_everything(caught.value)
        studio.failures["WatchJob"] = EVERYTHING
        with pytest.raises(MilimoError) as caught:
            async for _ in client.jobs.WatchJob(WatchJobRequest(job_id="x")):
                pass
        assert_is_everything(caught.value)


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_a_jobs_error_is_the_same_exception(code: grpc.StatusCode) -> None:
    error = from_status(status_pb2.Status(code=code.value[0], message="why"))
    assert (error.code, error.message) == (code, "why")


def test_a_code_of_the_future_is_unknown() -> None:
    assert from_status(status_pb2.Status(code=99)).code is grpc.StatusCode.UNKNOWN
    assert from_status(to_status(EVERYTHING)).retry_after == 2.5


@pytest.mark.parametrize(
    ("code", "reason", "retry_after", "transient"),
    [
        (grpc.StatusCode.UNAVAILABLE, "", None, True),
        (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", None, True),
        (grpc.StatusCode.INTERNAL, "", None, True),
        (grpc.StatusCode.INTERNAL, "INTERNAL", None, False),
        (grpc.StatusCode.CANCELLED, "", None, True),
        (grpc.StatusCode.NOT_FOUND, "", None, False),
        (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", None, False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "", None, False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", 1.0, True),
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", None, False),
    ],
)
def test_which_errors_pass_by_themselves(
    code: grpc.StatusCode, reason: str, retry_after: float | None, transient: bool
) -> None:
    assert MilimoError(code, "x", reason=reason, retry_after=retry_after).is_transient is transient


def test_nobody_there() -> None:
    with Milimo("127.0.0.1:1") as client, pytest.raises(MilimoError) as caught:
        client.jobs.GetJob(GetJobRequest(job_id="x"), timeout=5)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE


def test_the_codes_of_both_sides_are_the_same() -> None:
    assert {code.name: code.value[0] for code in grpc.StatusCode} == dict(code_pb2.Code.items())
