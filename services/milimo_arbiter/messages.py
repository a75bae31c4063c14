"""Between the contract's messages and the arbiter's own values: the only module that knows both."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from google.protobuf import duration_pb2, timestamp_pb2
from milimo.v1 import arbiter_pb2, common_pb2
from milimo_runtime.errors import FailedPrecondition, InvalidArgument, MilimoError, ResourceExhausted

from milimo_arbiter import effects, events
from milimo_arbiter.memory import ledger, measured_use
from milimo_arbiter.queue import in_order
from milimo_arbiter.state import Footprint, Phase, Priority, ProcessIdentity, Request, Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from milimo_arbiter.state import Lease, State

    # From the arbiter's monotonic clock to seconds since the epoch.
    ToWall = Callable[[float], float]

_PHASES = {
    Phase.IDLE: arbiter_pb2.LEASE_STATE_IDLE,
    Phase.BUSY: arbiter_pb2.LEASE_STATE_BUSY,
    Phase.RECLAIMING: arbiter_pb2.LEASE_STATE_RECLAIMING,
    Phase.QUARANTINED: arbiter_pb2.LEASE_STATE_QUARANTINED,
}

_PRIORITIES = {
    Priority.LOW: common_pb2.PRIORITY_LOW,
    Priority.NORMAL: common_pb2.PRIORITY_NORMAL,
    Priority.HIGH: common_pb2.PRIORITY_HIGH,
}

# When a full queue is worth another try, in seconds.
RETRY_AFTER_S = 5.0


def duration(seconds: float) -> duration_pb2.Duration:
    """Seconds as a Duration."""
    message = duration_pb2.Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def timestamp(wall: float) -> timestamp_pb2.Timestamp:
    """Seconds since the epoch as a Timestamp."""
    message = timestamp_pb2.Timestamp()
    message.FromNanoseconds(round(wall * 1e9))
    return message


def process_of(message: arbiter_pb2.Acquire) -> ProcessIdentity | None:
    """The process that asks; None where it names none."""
    if not message.HasField("process") or message.process.pid == 0:
        return None
    return ProcessIdentity(
        pid=message.process.pid,
        start_ticks=message.process.start_ticks,
        pid_namespace=message.process.pid_namespace,
    )


def request_of(message: arbiter_pb2.Acquire, process: ProcessIdentity | None, resume_token: str) -> Request:
    """What is asked for.

    Raises:
        InvalidArgument: when two grades have one name, or the minimum hold is negative.
    """
    names: set[str] = set()
    for index, footprint in enumerate(message.footprints):
        if footprint.name in names:
            raise InvalidArgument(f"acquire.footprints[{index}].name", f"{footprint.name!r} is used twice")
        if not math.isfinite(footprint.load_seconds):
            raise InvalidArgument(f"acquire.footprints[{index}].load_seconds", "it must be a finite number")
        names.add(footprint.name)
    min_hold_s = message.min_hold.ToNanoseconds() / 1e9
    if min_hold_s < 0:
        raise InvalidArgument("acquire.min_hold", f"{min_hold_s} s is negative")
    return Request(
        tenant=message.tenant,
        footprints=tuple(
            Footprint(name=one.name, bytes=one.bytes, devices=tuple(one.devices), load_seconds=one.load_seconds)
            for one in message.footprints
        ),
        priority=Priority(message.priority) if message.priority else Priority.NORMAL,
        min_hold_s=min_hold_s,
        job_id=message.job_id,
        process=process,
        resume_token=resume_token,
        workload=_workload(message),
    )


def _workload(message: arbiter_pb2.Acquire | arbiter_pb2.Busy) -> Workload | None:
    if not message.HasField("workload"):
        return None
    one = message.workload
    return Workload(model=one.model, width=one.width, height=one.height, frames=one.frames)


def event_of(message: arbiter_pb2.LeaseRequest, stream: int) -> events.Message:
    """What a holder says after its first message.

    Raises:
        InvalidArgument: for a second `acquire`.
    """
    match message.WhichOneof("message"):
        case "heartbeat":
            heartbeat = message.heartbeat
            used = heartbeat.used_bytes if heartbeat.HasField("used_bytes") else None
            parked = heartbeat.parked_bytes if heartbeat.HasField("parked_bytes") else None
            return events.Heartbeat(stream=stream, sequence=heartbeat.sequence, used=used, parked=parked)
        case "shrink":
            return events.Shrink(stream=stream, bytes=message.shrink.bytes)
        case "idle":
            return events.Idle(stream=stream, peak=message.idle.peak_bytes)
        case "busy":
            busy = message.busy
            return events.Busy(
                stream=stream,
                job_id=busy.job_id,
                waiting_jobs=busy.waiting_jobs,
                peak=busy.peak_bytes,
                workload=_workload(busy),
            )
        case "release":
            return events.Release(stream=stream, peak=message.release.peak_bytes)
        case "park":
            return events.Park(stream=stream, bytes=message.park.bytes)
        case _:
            raise InvalidArgument("acquire", "a stream carries one lease: open another one for the next")


def reply_of(reply: effects.Reply) -> arbiter_pb2.LeaseResponse:
    """A reply as the contract's message."""
    match reply:
        case effects.Queued():
            return arbiter_pb2.LeaseResponse(
                queued=arbiter_pb2.Queued(
                    position=reply.position,
                    reason=reply.reason,
                    eta=None if reply.eta_s is None else duration(reply.eta_s),
                ),
            )
        case effects.Granted():
            lease = reply.lease
            return arbiter_pb2.LeaseResponse(
                granted=arbiter_pb2.Granted(
                    lease_id=lease.lease_id,
                    device=lease.device,
                    bytes=lease.bytes,
                    footprint=lease.footprint,
                    fencing_token=lease.fencing_token,
                    ttl=duration(reply.ttl_s),
                    resume_token=lease.resume_token,
                )
            )
        case effects.Renewed():
            return arbiter_pb2.LeaseResponse(renewed=arbiter_pb2.Renewed(sequence=reply.sequence))
        case effects.ReclaimRequested():
            return arbiter_pb2.LeaseResponse(
                reclaim_requested=arbiter_pb2.ReclaimRequested(
                    bytes=reply.bytes, deadline=duration(reply.deadline_s), reason=reply.reason
                )
            )
        case effects.Revoked():
            return arbiter_pb2.LeaseResponse(revoked=arbiter_pb2.Revoked(reason=reply.reason))
        case effects.Released():
            return arbiter_pb2.LeaseResponse(released=arbiter_pb2.Released())
        case effects.Parked():
            return arbiter_pb2.LeaseResponse(parked=arbiter_pb2.Parked(bytes=reply.bytes))


def error_of(refusal: effects.Refusal, text: str) -> MilimoError:
    """A refusal as the error that the caller sees."""
    match refusal:
        case effects.Refusal.QUEUE_FULL:
            return ResourceExhausted(text, reason=refusal.value, retry_after_s=RETRY_AFTER_S)
        case effects.Refusal.RESUME_TOKEN_FOREIGN:
            return InvalidArgument("acquire.resume_token", text, reason=refusal.value)
        case effects.Refusal.SECOND_ACQUIRE:
            return InvalidArgument("acquire", text, reason=refusal.value)
        case effects.Refusal.SHRINK_TOO_LARGE:
            return InvalidArgument("shrink.bytes", text, reason=refusal.value)
        case effects.Refusal.EXTERNAL_UNKNOWN:
            return FailedPrecondition(text, reason=refusal.value)
        case effects.Refusal.FOOTPRINT_TOO_LARGE | effects.Refusal.DEVICE_UNKNOWN:
            return InvalidArgument("acquire.footprints", text, reason=refusal.value)


def lease_status(state: State, lease: Lease, to_wall: ToWall) -> arbiter_pb2.LeaseStatus:
    """A lease as readers see it."""
    parking = None if lease.process is None else state.parked.get((lease.tenant, lease.process))
    return arbiter_pb2.LeaseStatus(
        lease_id=lease.lease_id,
        tenant=lease.tenant,
        device=lease.device,
        footprint=lease.footprint,
        granted_bytes=lease.bytes,
        measured_bytes=measured_use(state, lease),
        state=_PHASES[lease.phase],
        job_id=lease.turn.job_id if lease.turn else "",
        waiting_jobs=lease.turn.waiting_jobs if lease.turn else 0,
        fencing_token=lease.fencing_token,
        granted_at=timestamp(to_wall(lease.granted_at)),
        pid=lease.process.pid if lease.process else 0,
        parked_bytes=0 if parking is None else parking.bytes,
    )


def oldest_first(state: State) -> list[Lease]:
    """All leases in the order in which they were granted."""
    return sorted(state.leases.values(), key=lambda lease: (lease.granted_at, lease.lease_id))


def status_of(
    state: State, decisions: Iterable[effects.Decided], to_wall: ToWall, now: float
) -> arbiter_pb2.ArbiterStatus:
    """Everything that readers see at `now`, a time of the arbiter's clock."""
    status = arbiter_pb2.ArbiterStatus(
        leases=[lease_status(state, lease, to_wall) for lease in oldest_first(state)],
        queue=[
            arbiter_pb2.WaitingRequest(
                tenant=waiter.request.tenant,
                job_id=waiter.request.job_id,
                priority=_PRIORITIES[waiter.request.priority],
                min_bytes=min(footprint.bytes for footprint in waiter.request.footprints),
                position=position,
                reason=waiter.told_reason,
                eta=None if waiter.told_time is None else duration(max(0.0, waiter.told_time - now)),
                waiting_since=timestamp(to_wall(waiter.since)),
            )
            for position, waiter in enumerate(in_order(state), start=1)
        ],
        decisions=[
            arbiter_pb2.Decision(
                time=timestamp(to_wall(decision.at)),
                action=decision.action,
                tenant=decision.tenant,
                device=decision.device,
                bytes=decision.bytes,
                reason=decision.reason,
                job_id=decision.job_id,
                fencing_token=decision.fencing_token,
            )
            for decision in decisions
        ],
        parking_budget_bytes=state.parking_budget,
        parked_bytes=sum(parking.bytes for parking in state.parked.values()),
        grace_until=None if state.grace_until is None else timestamp(to_wall(state.grace_until)),
    )
    for program in state.externals.values():
        status.externals.append(
            arbiter_pb2.ExternalStatus(
                name=program.name,
                device=program.device,
                bytes=program.bytes,
                busy=program.busy,
                reclaiming=program.asked_at is not None,
                problem=program.problem,
            )
        )
    for device in state.devices.values():
        sums = ledger(state, device.id)
        status.devices.append(
            arbiter_pb2.DeviceStatus(
                device=device.id,
                name=device.name,
                total_bytes=device.total,
                reserve_bytes=device.reserve,
                granted_bytes=sums.granted,
                measured_bytes=sums.measured,
                quarantined_bytes=sums.quarantined,
                external_bytes=sums.external,
                free_bytes=sums.free,
            )
        )
    return status
