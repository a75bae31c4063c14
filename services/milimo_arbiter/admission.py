"""Rule 1 of `core`: a stream asks for a lease, or takes an earlier one up again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from milimo_arbiter.effects import Close, Granted, ReclaimRequested, Refusal, Refuse, Revoked, Watch
from milimo_arbiter.state import Waiter

if TYPE_CHECKING:
    from milimo_arbiter.events import Acquire, Resume
    from milimo_arbiter.state import Request, State
    from milimo_arbiter.transition import Transition


def acquire(change: Transition, event: Acquire) -> None:
    """Queues the request, or refuses it (1.1 to 1.4)."""
    state, request = change.state, event.request
    refusal = _refusal(state, event.stream, request)
    if refusal is not None:
        change.effects.append(Refuse(stream=event.stream, refusal=refusal[0], text=refusal[1]))
        return
    waiter = Waiter(stream=event.stream, request=request, since=change.now, arrival=state.arrivals)  # 1.4
    change.state = replace(state.with_waiter(waiter), arrivals=state.arrivals + 1)


def _refusal(state: State, stream: int, request: Request) -> tuple[Refusal, str] | None:
    if stream in state.waiters or state.lease_on(stream) is not None:  # 1.1
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
    if len(state.waiters) >= state.policy.queue_bound:  # 1.3
        return Refusal.QUEUE_FULL, f"{state.policy.queue_bound} requests wait already"
    return None


def resume(change: Transition, event: Resume) -> None:
    """Puts the holder back on its lease, or tells it that there is none (1.5 to 1.8)."""
    state = change.state
    if event.stream in state.waiters or state.lease_on(event.stream) is not None:  # 1.1
        text = "a stream carries one lease: open another one for the next"
        change.effects.append(Refuse(stream=event.stream, refusal=Refusal.SECOND_ACQUIRE, text=text))
        return
    lease = next((one for one in state.leases.values() if one.resume_token == event.resume_token), None)
    if lease is None:  # 1.5
        change.send(event.stream, Revoked(reason="there is no such lease any more"))
        change.effects.append(Close(stream=event.stream))
        return
    if lease.tenant != event.tenant or lease.process != event.process:  # 1.6
        text = "the resume token belongs to another tenant or process"
        change.effects.append(Refuse(stream=event.stream, refusal=Refusal.RESUME_TOKEN_FOREIGN, text=text))
        return
    if lease.stream is not None:
        change.effects.append(Close(stream=lease.stream))
    if lease.quarantine is not None:  # 1.7
        change.put(replace(lease, stream=event.stream))
        change.send(event.stream, Revoked(reason=lease.quarantine.reason))
        return
    policy = state.policy
    back = replace(lease, stream=event.stream, confirmed=True, expires_at=change.now + policy.ttl_s)  # 1.8
    change.put(back)
    if back.process is not None:
        change.effects.append(Watch(process=back.process))
    change.send(event.stream, Granted(lease=back, ttl_s=policy.ttl_s))
    if back.reclaim is not None:
        left = max(0.0, back.reclaim.deadline - change.now)
        change.send(
            event.stream,
            ReclaimRequested(bytes=back.reclaim.bytes, deadline_s=left, reason=back.reclaim.reason),
        )
    change.decide("resumed", back, "the holder is back")
