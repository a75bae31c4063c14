"""What passes over a lease's stream, and how it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import os
from functools import cache
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio
from google.protobuf import duration_pb2
from milimo.v1 import arbiter_pb2, common_pb2

from milimo_runtime.channels import CLIENT_OPTIONS
from milimo_runtime.identity import pid_namespace, start_ticks
from milimo_runtime.lease_terms import Claim, Priority, Workload
from milimo_runtime.statuses import from_rpc_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    Call = grpc.aio.StreamStreamCall[arbiter_pb2.LeaseRequest, arbiter_pb2.LeaseResponse]

# What a call ends with when the arbiter has stopped or restarts, rather than refused.
_GONE: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL})

_LONGEST_NAME: Final = 64

_PRIORITIES: Final = {
    Priority.LOW: common_pb2.PRIORITY_LOW,
    Priority.NORMAL: common_pb2.PRIORITY_NORMAL,
    Priority.HIGH: common_pb2.PRIORITY_HIGH,
}


def arbiter_channel(address: str) -> grpc.aio.Channel:
    """A channel for leases. Without the interceptors of other channels: a stream that lives for hours is no span."""
    return grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS)


def acquire_message(request: Claim, *, acquire_id: str = "", resume_token: str = "") -> arbiter_pb2.LeaseRequest:
    """Asks for a lease, with an id by which a repeat of the request is known; or for an earlier one back."""
    min_hold = duration_pb2.Duration()
    min_hold.FromNanoseconds(round(request.min_hold_s * 1e9))
    return arbiter_pb2.LeaseRequest(
        acquire=arbiter_pb2.Acquire(
            tenant=request.tenant,
            footprints=[
                arbiter_pb2.Footprint(
                    name=grade.name, bytes=grade.bytes, devices=grade.devices, load_seconds=grade.load_seconds
                )
                for grade in request.grades
            ],
            priority=_PRIORITIES[request.priority],
            min_hold=min_hold,
            job_id=request.job_id,
            acquire_id=acquire_id,
            resume_token=resume_token,
            workload=workload_message(request.workload),
            process=_process(os.getpid()),
        )
    )


@cache
def _process(pid: int) -> arbiter_pb2.ProcessIdentity:
    """This process, whose id is `pid`: a fork of it has another."""
    return arbiter_pb2.ProcessIdentity(pid=pid, start_ticks=start_ticks(pid) or 0, pid_namespace=pid_namespace())


def heartbeat(sequence: int, used: int | None, parked: int) -> arbiter_pb2.LeaseRequest:
    """Renews a lease, and reports the bytes in use where they are known, and those of parked weights."""
    return arbiter_pb2.LeaseRequest(
        heartbeat=arbiter_pb2.Heartbeat(sequence=sequence, used_bytes=used, parked_bytes=parked)
    )


def busy(job_id: str, waiting_jobs: int, workload: Workload | None, peak_bytes: int) -> arbiter_pb2.LeaseRequest:
    """A job has its turn; `peak_bytes` is that of the turn before, 0 when it was told."""
    return arbiter_pb2.LeaseRequest(
        busy=arbiter_pb2.Busy(
            job_id=job_id, waiting_jobs=waiting_jobs, workload=workload_message(workload), peak_bytes=peak_bytes
        )
    )


def workload_message(workload: Workload | None) -> arbiter_pb2.Workload | None:
    """What a turn computes; names that are too long for the contract are cut."""
    if workload is None:
        return None
    return arbiter_pb2.Workload(
        model=workload.model[:_LONGEST_NAME], width=workload.width, height=workload.height, frames=workload.frames
    )


class Broken(Exception):
    """The stream has ended, and not in peace: the arbiter has stopped, or cannot be reached."""


@contextlib.contextmanager
def broken() -> Iterator[None]:
    """Turns the ways in which grpc.aio reports a broken stream into one; refusals pass.

    Raises:
        MilimoError: when the arbiter ended the stream with an error of its own.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if error.code() in _GONE:
            raise Broken(error.code().name) from error
        raise from_rpc_error(error) from error
    except asyncio.InvalidStateError as error:
        raise Broken("the call has ended") from error
    except asyncio.CancelledError as error:
        # A call that the server cancelled looks like a task that somebody here cancelled.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Broken("the server cancelled the call") from error


async def next_reply(call: Call) -> arbiter_pb2.LeaseResponse | None:
    """The next reply; None when the arbiter has ended the stream in peace.

    Raises:
        Broken: when the stream ended otherwise.
        MilimoError: when the arbiter ended it with an error of its own.
    """
    with broken():
        reply = await call.read()
    return reply if isinstance(reply, arbiter_pb2.LeaseResponse) else None


async def say(call: Call, message: arbiter_pb2.LeaseRequest) -> None:
    """Writes a message.

    Raises:
        Broken: when the stream has ended.
        MilimoError: when the arbiter ended it with an error of its own.
    """
    with broken():
        await call.write(message)
