"""Errors as a client sees them: a canonical status, one ErrorInfo, the fields at fault, and nothing of the inside."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from milimo.v1 import jobs_pb2, jobs_pb2_grpc, projects_pb2, video_pb2
from milimo_runtime import errors, interceptors
from milimo_runtime.channels import SERVER_OPTIONS, open_channel
from milimo_runtime.errors import FieldViolation, InvalidArgument, MilimoError, NotFound, Unavailable, fields_below
from milimo_runtime.failures import failure_of, status_of
from milimo_runtime.interceptors import CallInterceptor, check_request
from milimo_runtime.later import later, later_stream
from milimo_runtime.statuses import DOMAIN, from_rpc_error, internal_status, to_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SECRET = "the password is hunter2"


def details(status: status_pb2.Status) -> dict[str, Any]:
    """The details by the name of their type."""
    found: dict[str, Any] = {}
    for detail in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            message = kind()
            if detail.Unpack(message):
                found[kind.DESCRIPTOR.name] = message
    assert len(found) == len(status.details)
    return found


def an_error(kind: type[MilimoError]) -> MilimoError:
    """An error of the class, however it is made."""
    parameters = [name for name in inspect.signature(kind).parameters if name != "self"]
    values = {"field": "video.seed", "description": "is odd", "kind": "shot", "id_": "x", "feature": "time travel"}
    positional = [
        values.get(name, "what happened")
        for name in parameters
        if inspect.signature(kind).parameters[name].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    return kind(*positional)


def classes(of: type[MilimoError]) -> list[type[MilimoError]]:
    return [of, *(found for kind in of.__subclasses__() for found in classes(kind))]


PUBLIC = [kind for kind in classes(MilimoError) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
def test_every_error_has_a_canonical_status_and_one_error_info(kind: type[MilimoError]) -> None:
    error = an_error(kind)
    status = to_status(error)
    assert status.code == code_pb2.Code.Value(error.status)
    assert status.message == error.message
    info = details(status)["ErrorInfo"]
    assert (info.domain, info.reason) == (DOMAIN, error.reason)
    assert info.reason == info.reason.upper()
    violations = [(one.field, one.description) for one in details(status).get("BadRequest", _NONE).field_violations]
    assert violations == [(one.field, one.description) for one in error.violations]


_NONE = error_details_pb2.BadRequest()


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
def test_a_job_keeps_the_whole_status(kind: type[MilimoError]) -> None:
    error = an_error(kind)
    failure = failure_of(error)
    assert failure.code == code_pb2.Code.Value(error.status)
    kept, told = status_of(failure), to_status(error)
    # The details as messages: packed, the entries of a map may come in any order.
    assert (kept.code, kept.message, details(kept)) == (told.code, told.message, details(told))


def test_a_job_tells_nothing_of_an_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise RuntimeError(SECRET)
    except RuntimeError as error:
        failure = failure_of(error)
    status = status_of(failure)
    assert SECRET not in str(status)
    error_id = details(status)["ErrorInfo"].metadata["error_id"]
    assert error_id in status.message
    [record] = caplog.records
    assert record.error_id == error_id
    assert SECRET in caplog.text


def test_a_status_always_fits_into_the_metadata() -> None:
    status = to_status(
        InvalidArgumentOfMany(
            "x" * 100_000,
            violations=[FieldViolation(field="f" * 1000, description="ü" * 10_000)] * 1000,
            metadata={"id": "i" * 10_000},
        )
    )
    assert status.ByteSize() < 8000
    assert "…" in status.message


class InvalidArgumentOfMany(MilimoError):
    status = "INVALID_ARGUMENT"
    default_reason = "INVALID_FIELD"


def test_fields_below_a_prefix() -> None:
    with pytest.raises(InvalidArgument) as caught, fields_below("video"):
        raise InvalidArgument("conditions[1].strength", "is above 1", reason="TOO_STRONG")
    assert caught.value.violations[0].field == "video.conditions[1].strength"
    assert caught.value.reason == "TOO_STRONG"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (projects_pb2.CreateProjectRequest(), "project"),
        (projects_pb2.CreateProjectRequest(project=projects_pb2.Project(fps=7)), "project.fps"),
        (projects_pb2.CreateProjectRequest(project=projects_pb2.Project(resolution_w=33)), "project.resolution_w"),
        (projects_pb2.CreateProjectRequest(project=projects_pb2.Project(name="n" * 201)), "project.name"),
        (projects_pb2.CreateProjectRequest(project=projects_pb2.Project(name="a\0b")), "project.name"),
        (projects_pb2.CreateProjectRequest(project=projects_pb2.Project(), request_id="no uuid"), "request_id"),
        (projects_pb2.GetProjectRequest(), "project_id"),
        (projects_pb2.ListProjectsRequest(page_size=-1), "page_size"),
        (jobs_pb2.ListJobsRequest(states=[1, 0]), "states[1]"),
        (jobs_pb2.WatchJobRequest(job_id="j", after_sequence=-1), "after_sequence"),
        (
            video_pb2.SubmitVideoRequest(
                project_id="p",
                video=video_pb2.VideoParameters(
                    prompt="p",
                    conditions=[
                        video_pb2.VideoCondition(asset_id="a"),
                        video_pb2.VideoCondition(asset_id="a", strength=7),
                    ],
                ),
            ),
            "video.conditions[1].strength",
        ),
        (
            video_pb2.SubmitVideoRequest(
                project_id="p",
                video=video_pb2.VideoParameters(
                    prompt="p",
                    conditions=[video_pb2.VideoCondition(asset_id="a"), video_pb2.VideoCondition(asset_id="\0")],
                ),
            ),
            "video.conditions[1].asset_id",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_broken_rules_name_their_field(request_: Any, field: str) -> None:
    with pytest.raises(MilimoError) as caught:
        check_request(request_)
    assert caught.value.status == "INVALID_ARGUMENT"
    assert field in [violation.field for violation in caught.value.violations]
    assert all(violation.description for violation in caught.value.violations)


def test_all_broken_rules_are_told_at_once() -> None:
    with pytest.raises(MilimoError) as caught:
        check_request(projects_pb2.CreateProjectRequest(project=projects_pb2.Project(fps=7, resolution_h=1)))
    assert {violation.field for violation in caught.value.violations} == {"project.fps", "project.resolution_h"}


# --- over the wire ---------------------------------------------------------------------------------------------------


class Jobs(jobs_pb2_grpc.JobServiceServicer):
    """Answers as the job id says."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.closed = asyncio.Event()

    async def GetJob(self, request: jobs_pb2.GetJobRequest, context: Any) -> jobs_pb2.GetJobResponse:
        match request.job_id:
            case "missing":
                raise NotFound("job", "missing")
            case "broken":
                raise RuntimeError(SECRET)
            case "slow":
                await asyncio.Event().wait()
            case "timeout":
                raise TimeoutError(SECRET)
            case "own":
                await context.abort(grpc.StatusCode.DATA_LOSS, "own words")
            case "relayed":
                status = to_status(Unavailable("in a moment", retry_after_s=2.5, metadata={"by": "arbiter"}))
                raise RemoteCall(status)
            case "exhausted":
                raise errors.ResourceExhausted("the disk is full", retry_after_s=30)
        return jobs_pb2.GetJobResponse(job=jobs_pb2.Job(id=request.job_id))

    async def WatchJob(self, request: jobs_pb2.WatchJobRequest, context: Any) -> AsyncIterator[jobs_pb2.JobEvent]:
        yield jobs_pb2.JobEvent(job_id=request.job_id)
        if request.job_id == "broken":
            raise RuntimeError(SECRET)
        if request.job_id == "endless":
            try:
                self.open.set()
                await asyncio.Event().wait()
            finally:
                # Unwinding may wait for something itself.
                await asyncio.sleep(0)
                self.closed.set()

    ListJobs = later("time travel")
    WatchJobs = later_stream("time travel")


class RemoteCall(grpc.aio.AioRpcError):
    """A failed call to another process."""

    def __init__(self, status: status_pb2.Status) -> None:
        rich = rpc_status.to_status(status)
        super().__init__(
            rich.code, grpc.aio.Metadata(), grpc.aio.Metadata(*rich.trailing_metadata), details=rich.details
        )


@pytest.fixture
async def wire(free_address: Callable[[], str]) -> AsyncIterator[tuple[grpc.aio.Channel, CallInterceptor, Jobs]]:
    address = free_address()
    calls, jobs = CallInterceptor(), Jobs()
    server = grpc.aio.server(options=list(SERVER_OPTIONS), interceptors=[calls])
    jobs_pb2_grpc.add_JobServiceServicer_to_server(jobs, server)
    server.add_insecure_port(address)
    await server.start()
    channel = open_channel(address)
    yield channel, calls, jobs
    await channel.close()
    await server.stop(grace=0)
    await calls.settle(5)


Wire = tuple[grpc.aio.Channel, CallInterceptor, Jobs]


async def refused(call: Any) -> status_pb2.Status:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    assert status is not None
    return status


async def drained(call: Any) -> list[Any]:
    return [response async for response in call]


@pytest.mark.parametrize(
    ("job_id", "code", "reason"),
    [
        ("missing", code_pb2.NOT_FOUND, "NOT_FOUND"),
        ("broken", code_pb2.INTERNAL, "INTERNAL"),
        ("timeout", code_pb2.INTERNAL, "INTERNAL"),
        ("relayed", code_pb2.UNAVAILABLE, "UNAVAILABLE"),
        ("exhausted", code_pb2.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED"),
        ("", code_pb2.INVALID_ARGUMENT, "INVALID_FIELD"),
    ],
)
async def test_statuses_over_the_wire(wire: Wire, job_id: str, code: int, reason: str) -> None:
    status = await refused(jobs_pb2_grpc.JobServiceStub(wire[0]).GetJob(jobs_pb2.GetJobRequest(job_id=job_id)))
    assert (status.code, details(status)["ErrorInfo"].reason) == (code, reason)
    assert SECRET not in str(status)
    if job_id == "relayed":
        assert dict(details(status)["ErrorInfo"].metadata) == {"by": "arbiter"}
        assert details(status)["RetryInfo"].retry_delay.ToMilliseconds() == 2500


async def test_an_unexpected_error_is_logged_under_its_id(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    stub = jobs_pb2_grpc.JobServiceStub(wire[0])
    with caplog.at_level(logging.ERROR):
        unary = await refused(stub.GetJob(jobs_pb2.GetJobRequest(job_id="broken")))
        stream = await refused(drained(stub.WatchJob(jobs_pb2.WatchJobRequest(job_id="broken"))))
    told = [details(status)["ErrorInfo"].metadata["error_id"] for status in (unary, stream)]
    assert [record.error_id for record in caplog.records] == told
    assert "Traceback" not in str(unary) + str(stream)


async def test_a_call_that_takes_too_long(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interceptors, "UNARY_SECONDS", 0.05)
    # The limit is read when a method is called for the first time.
    status = await refused(jobs_pb2_grpc.JobServiceStub(wire[0]).GetJob(jobs_pb2.GetJobRequest(job_id="slow")))
    assert status.code == code_pb2.DEADLINE_EXCEEDED
    assert details(status)["ErrorInfo"].reason == "DEADLINE_EXCEEDED"


async def test_a_handler_may_answer_with_a_status_of_its_own(wire: Wire) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await jobs_pb2_grpc.JobServiceStub(wire[0]).GetJob(jobs_pb2.GetJobRequest(job_id="own"))
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.DATA_LOSS, "own words")


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x02\xff\xfe"])
async def test_bytes_that_are_no_message_are_the_callers_fault(wire: Wire, data: bytes) -> None:
    call = wire[0].unary_unary("/milimo.v1.JobService/GetJob")(data)
    assert (await refused(call)).code == code_pb2.INVALID_ARGUMENT


async def test_features_that_come_later_have_a_name(wire: Wire) -> None:
    stub = jobs_pb2_grpc.JobServiceStub(wire[0])
    for call in (stub.ListJobs(jobs_pb2.ListJobsRequest()), drained(stub.WatchJobs(jobs_pb2.WatchJobsRequest()))):
        status = await refused(call)
        assert status.code == code_pb2.UNIMPLEMENTED
        assert details(status)["ErrorInfo"].metadata["feature"] == "time travel"


async def test_a_stream_whose_client_goes_is_closed_at_once(wire: Wire) -> None:
    channel, _, jobs = wire
    call = jobs_pb2_grpc.JobServiceStub(channel).WatchJob(jobs_pb2.WatchJobRequest(job_id="endless"))
    assert (await call.read()).job_id == "endless"
    await jobs.open.wait()
    call.cancel()
    async with asyncio.timeout(10):
        await jobs.closed.wait()


async def test_what_a_stopped_server_cut_off_is_over_before_it_goes_on(wire: Wire) -> None:
    channel, calls, jobs = wire
    call = jobs_pb2_grpc.JobServiceStub(channel).WatchJob(jobs_pb2.WatchJobRequest(job_id="endless"))
    await call.read()
    await jobs.open.wait()
    await calls.settle(10)
    assert jobs.closed.is_set()


def test_an_error_of_another_process_without_details() -> None:
    error = from_rpc_error(
        grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details="refused")
    )
    assert (error.status, error.message) == ("UNAVAILABLE", "refused")


def test_the_id_of_an_internal_error_is_in_its_text() -> None:
    assert "abc" in internal_status("abc").message


async def test_metadata_of_many_violations_arrives(wire: Wire) -> None:
    """More violations than gRPC's metadata could carry."""
    request = jobs_pb2.ListJobsRequest(states=[0] * 1000)
    status = await refused(jobs_pb2_grpc.JobServiceStub(wire[0]).ListJobs(request))
    assert status.code == code_pb2.INVALID_ARGUMENT
    assert details(status)["BadRequest"].field_violations[0].field == "states[0]"
