"""Rule 1 of `core`: a stream asks for a lease, or takes an earlier one up again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from milimo_arbiter.effects import Close, Granted, ReclaimRequested, Refusal, Refuse, Revoked, Watch
from milimo_arbiter.learning import with_peaks
from milimo_arbiter.memory import is_unknown
from milimo_arbiter.state import Waiter

if TYPE_CHECKING:
    from milimo_arbiter.events import Acquire, Resume
    from milimo_arbiter.state import Lease, ProcessIdentity, Request, State
    from milimo_arbiter.transition import Transition


def acquire(change: Transition, event: Acquire) -> None:
    """Queues the request, or refuses it (1.1 to 1.4); what is repeated finds its lease or its place (1.9, 1.10)."""
    state, request = change.state, with_peaks(change.state, event.request)
    if not _has_claim(state, event.stream):
        lease = _lease_of(state, request.resume_token)
        if lease is not None:  # 1.9
            _take_up(change, lease, event.stream, request.tenant, request.process, "its request was repeated")
            return
        earlier = next(
            (one for one in state.waiters.values() if one.request.resume_token == request.resume_token), None
        )
        if earlier is not None:
            if not _is_same(earlier.request, request):
                _refuse_token(change, event.stream)
                return
            # 1.10
            change.state = state.without_waiter(earlier.stream).with_waiter(
                Waiter(stream=event.stream, request=request, since=earlier.since, arrival=earlier.arrival)
            )
            change.effects.append(Close(stream=earlier.stream))
            return
    refusal = _refusal(state, event.stream, request)
    if refusal is not None:
        change.effects.append(Refuse(stream=event.stream, refusal=refusal[0], text=refusal[1]))
        return
    waiter = Waiter(stream=event.stream, request=request, since=change.now, arrival=state.arrivals)  # 1.4
    change.state = replace(state.with_waiter(waiter), arrivals=state.arrivals + 1)


def _refusal(state: State, stream: int, request: Request) -> tuple[Refusal, str] | None:
    if _has_claim(state, stream):  # 1.1
        return Refusal.SECOND_ACQUIRE, "a stream carries one lease: open another one for the next"
    known = [(footprint, device) for footprint in request.footprints for device in footprint.places(state.devices)]
    if not known:  # 1.2
        named = sorted({device for footprint in request.footprints for device in footprint.devices})
        return Refusal.DEVICE_UNKNOWN, (
            f"memory of {', '.join(sorted(state.devices))} is lent, none of {', '.join(named)}: "
            "MILIMO_ARBITER_DEVICE and MILIMO_DEVICE have to agree"
        )
    if all(footprint.bytes > state.devices[device].budget for footprint, device in known):  # 1.2
        least = min(footprint.bytes for footprint, _ in known)
        most = max(state.devices[device].budget for _, device in known)
        return Refusal.FOOTPRINT_TOO_LARGE, f"the smallest grade asks for {least} bytes, the largest budget is {most}"
    if all(is_unknown(state, device) for _, device in known):  # 1.11
        name = next(one.name for one in state.externals.values() if one.bytes is None)
        return Refusal.EXTERNAL_UNKNOWN, (
            f"what {name} holds is not known ({state.externals[name].problem}): "
            f"MILIMO_ARBITER_{name.upper()}_BYTES says what to count with"
        )
    if len(state.waiters) >= state.policy.queue_bound:  # 1.3
        return Refusal.QUEUE_FULL, f"{state.policy.queue_bound} requests wait already"
    return None


def resume(change: Transition, event: Resume) -> None:
    """Puts the holder back on its lease, or tells it that there is none (1.5)."""
    state = change.state
    if _has_claim(state, event.stream):  # 1.1
        text = "a stream carries one lease: open another one for the next"
        change.effects.append(Refuse(stream=event.stream, refusal=Refusal.SECOND_ACQUIRE, text=text))
        return
    lease = _lease_of(state, event.resume_token)
    if lease is None:  # 1.5
        change.send(event.stream, Revoked(reason="there is no such lease any more"))
        change.effects.append(Close(stream=event.stream))
        return
    _take_up(change, lease, event.stream, event.tenant, event.process, "the holder is back")


def _has_claim(state: State, stream: int) -> bool:
    return stream in state.waiters or state.lease_on(stream) is not None


def _lease_of(state: State, resume_token: str) -> Lease | None:
    return next((one for one in state.leases.values() if one.resume_token == resume_token), None)


def _is_same(one: Request, other: Request) -> bool:
    return (one.tenant, one.process) == (other.tenant, other.process)


def _refuse_token(change: Transition, stream: int) -> None:
    text = "the token belongs to another tenant or process"
    change.effects.append(Refuse(stream=stream, refusal=Refusal.RESUME_TOKEN_FOREIGN, text=text))  # 1.6


def _take_up(
    change: Transition, lease: Lease, stream: int, tenant: str, process: ProcessIdentity | None, reason: str
) -> None:
    """Puts whoever knows the token on its lease (1.6 to 1.8)."""
    if lease.tenant != tenant or lease.process != process:
        _refuse_token(change, stream)
        return
    if lease.stream is not None:
        change.effects.append(Close(stream=lease.stream))
    if lease.quarantine is not None:  # 1.7
        change.put(replace(lease, stream=stream))
        change.send(stream, Revoked(reason=lease.quarantine.reason))
        return
    policy = change.state.policy
    back = replace(lease, stream=stream, confirmed=True, expires_at=change.now + policy.ttl_s)  # 1.8
    change.put(back)
    if back.process is not None:
        change.effects.append(Watch(process=back.process))
    change.send(stream, Granted(lease=back, ttl_s=policy.ttl_s))
    if back.reclaim is not None:
        left = max(0.0, back.reclaim.deadline - change.now)
        change.send(
            stream,
            ReclaimRequested(bytes=back.reclaim.bytes, deadline_s=left, reason=back.reclaim.reason),
        )
    change.decide("resumed", back, reason)
