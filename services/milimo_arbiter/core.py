"""The arbiter's rules: `step(state, event, now) -> (state, effects)`.

Pure: no gRPC, no database, no clock. The numbers below stand beside the code that does what they say.

  Time goes first, so that nothing that comes late revives what has expired.
    0.1  the grace window ends when every restored holder has come back or is gone, at the latest at its time
    0.2  a lease that was not renewed within the TTL is lost: an offer never answered is free again, anything else is
         quarantined
    0.3  a holder that let a reclaim's deadline pass loses its lease if somebody waits; otherwise the wish is forgotten
    0.4  one that lost its lease so, and has not released since, is killed, if the policy says when

  1  A stream asks for a lease
    1.1  a stream asks once; a second time is refused
    1.2  no grade could ever fit: refused
    1.3  the queue is full: refused
    1.4  otherwise it waits; rule 7 may serve it in the same step
    1.5  resume, token unknown: the lease is over, and the stream hears it
    1.6  resume, or a repeated request, with the token of another tenant or process: refused
    1.7  resume of a quarantined lease: it stays lost; the stream hears it and may release
    1.8  resume otherwise: the holder is back, with the same fencing token; an older stream of the lease is closed
    1.9  a repeated request that was granted before: as a resume of that lease
    1.11 what a program holds that is no tenant is not known, on every device that would do: refused
    1.10 a repeated request that waits: it keeps its place, on the new stream; the older one is closed

  2  A holder speaks
    2.1  it has no lease: it hears that the lease is over
    2.2  its lease is quarantined: only a release is heard, anything else is answered by "revoked"
    2.3  heartbeat: renews, confirms the grant; a report of use replaces the last one, a missing one does not
    2.4  shrink: fewer bytes, and a wish is fulfilled by as much; not less than one byte may stay
    2.5  idle: the turn is over; an asked holder gets its idle deadline
    2.6  busy: a turn begins; while somebody waits for the batch to end, it counts
    2.7  release: the bytes are free at once where only holders measure, else in quarantine until rule 5
    2.8  park: host memory as asked for if there is as much, else what it had; it outlives the lease
    2.9  the end of a turn with a measured peak: the next request for the same counts with it, see `learning`
    2.10 how long the turn took: the next of its kind is expected to take as long, see `forecast`

  3  Something is gone
    3.1  the stream of a waiter: the request is removed
    3.2  the stream of an offer that was not confirmed: the grant is taken back
    3.3  the stream of a holder, of one granted at once too: it may resume until the TTL ends, and keeps its bytes
    3.4  a process: its leases are free, whatever their state, and its requests are removed

  4  An operator decides
    4.1  revoke: the holder loses the lease; of a quarantined lease whose process cannot be watched, the operator's
         word counts as a measurement
    4.2  reclaim: idle holders are asked, cheapest first

  5  A device was measured: quarantined bytes that a later sample does not show are free

    5.1  a program that is no tenant was looked at: what it holds is a stranger's; one that has gone need not be asked

  6  Nothing is granted during the grace window

  7  The queue is served: see `plan.schedule`

  8  Those who still wait are told their place, its reason and the time it will take, when it changed
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from milimo_arbiter.admission import acquire, resume
from milimo_arbiter.effects import Close, Kill, Queued, Refusal, Refuse, Released, Renewed, Revoked, Send
from milimo_arbiter.events import (
    Acquire,
    Busy,
    ExternalSeen,
    Heartbeat,
    Idle,
    Park,
    ProcessGone,
    ReclaimIdle,
    Release,
    Resume,
    Revoke,
    Sampled,
    Shrink,
    StreamEnded,
    Tick,
)
from milimo_arbiter.forecast import forecast, is_noticeable
from milimo_arbiter.learning import learn, learn_length
from milimo_arbiter.memory import reload_seconds, still_there
from milimo_arbiter.parking import forget_parked, park, report_parked
from milimo_arbiter.plan import asked_of, schedule, wish_of
from milimo_arbiter.queue import in_order
from milimo_arbiter.state import External, Lease, Turn
from milimo_arbiter.transition import Transition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from milimo_arbiter.effects import Effect
    from milimo_arbiter.events import Event, Message
    from milimo_arbiter.state import State, Waiter


def step(state: State, event: Event, now: float) -> tuple[State, tuple[Effect, ...]]:
    """What becomes of `state` when `event` happens at `now`, and what is to be done about it, in order."""
    change = Transition(state, now)
    _pass_time(change)
    match event:
        case Acquire():
            acquire(change, event)
        case Resume():
            resume(change, event)
        case Heartbeat() | Shrink() | Idle() | Busy() | Release() | Park():
            _hear(change, event)
        case StreamEnded():
            _lose_stream(change, event.stream)
        case ProcessGone():
            for lease in [lease for lease in change.state.leases.values() if lease.process == event.process]:
                change.free(lease, "freed", "its process has ended")  # 3.4
            for waiter in [one for one in change.state.waiters.values() if one.request.process == event.process]:
                change.state = change.state.without_waiter(waiter.stream)
            forget_parked(change, event.process)
        case Revoke():
            _revoke(change, event)
        case ReclaimIdle():
            _reclaim_idle(change, event)
        case Sampled():
            _measure(change, event)
        case ExternalSeen():  # 5.1
            earlier = change.state.externals.get(event.name)
            asked_at = earlier.asked_at if earlier is not None and event.bytes else None
            seen = External(
                name=event.name,
                device=event.device,
                bytes=event.bytes,
                busy=event.busy,
                problem=event.problem,
                asked_at=asked_at,
            )
            change.state = replace(change.state, externals={**change.state.externals, event.name: seen})
        case Tick():
            pass
        case _:
            assert_never(event)
    _end_grace(change)
    if not _changes_nothing(state, event, change):
        _serve(change)
    return change.state, tuple(change.effects)


def _changes_nothing(state: State, event: Event, change: Transition) -> bool:
    """Whether the event is a plain renewal: the most frequent one, and nobody's turn comes by it."""
    if not isinstance(event, Heartbeat) or len(change.effects) != 1 or state.grace_until != change.state.grace_until:
        return False
    before, after = state.lease_on(event.stream), change.state.lease_on(event.stream)
    effect = change.effects[0]
    return (
        isinstance(effect, Send)
        and isinstance(effect.reply, Renewed)
        and before is not None
        and after is not None
        and before.used == after.used
    )


def _pass_time(change: Transition) -> None:
    for lease in list(change.state.leases.values()):
        end = lease.quarantine
        if end is not None and end.kill_at is not None and change.now >= end.kill_at:  # 0.4
            # Stays on record: an arbiter that dies before it has killed leaves it to the next one.
            change.put(replace(lease, quarantine=replace(end, kill_at=None)))
            if lease.process is not None:
                change.effects.append(Kill(process=lease.process))
                change.decide("killed", lease, f"it has not released: {end.reason}")
    for lease in [one for one in change.state.leases.values() if one.quarantine is None]:
        if change.now >= lease.expires_at:  # 0.2
            change.take_away(lease, "expired", "it was not renewed in time")
        elif lease.reclaim is not None and change.now >= lease.reclaim.deadline:  # 0.3
            if change.state.waiters:
                change.take_away(lease, "revoked", f"the deadline has passed: {lease.reclaim.reason}")
                over = change.state.leases.get(lease.lease_id)
                wait = change.state.policy.kill_after_s
                if over is not None and over.quarantine is not None and wait is not None:
                    late = replace(over.quarantine, kill_at=change.now + wait)
                    change.save(replace(over, quarantine=late))
            else:
                change.put(replace(lease, reclaim=None))


def _end_grace(change: Transition) -> None:
    if change.state.grace_until is None:
        return
    away = any(lease.stream is None and lease.quarantine is None for lease in change.state.leases.values())
    if change.now >= change.state.grace_until or not away:  # 0.1
        change.state = replace(change.state, grace_until=None)


def _hear(change: Transition, message: Message) -> None:
    lease = change.state.lease_on(message.stream)
    if lease is None:  # 2.1
        if message.stream not in change.state.waiters:
            change.send(message.stream, Revoked(reason="there is no such lease any more"))
            change.effects.append(Close(stream=message.stream))
        elif isinstance(message, Release):
            # Who releases what it does not have yet, waits no longer.
            change.state = change.state.without_waiter(message.stream)
            change.send(message.stream, Released())
            change.effects.append(Close(stream=message.stream))
        return
    if lease.quarantine is not None and not isinstance(message, Release):  # 2.2
        change.send(lease.stream, Revoked(reason=lease.quarantine.reason))
        return
    match message:
        case Heartbeat():  # 2.3
            change.put(
                replace(
                    lease,
                    confirmed=True,
                    expires_at=change.now + change.state.policy.ttl_s,
                    used=lease.used if message.used is None else message.used,
                )
            )
            report_parked(change, lease, message.parked)
            change.send(lease.stream, Renewed(sequence=message.sequence))
        case Shrink():  # 2.4
            _shrink(change, lease, message)
        case Idle():  # 2.5
            learn(change, lease, message.peak)  # 2.9
            learn_length(change, lease)  # 2.10
            _end_turn(change, lease)
        case Busy():  # 2.6
            learn(change, lease, message.peak)
            _begin_turn(change, lease, message)
        case Release():  # 2.7
            learn(change, lease, message.peak)
            learn_length(change, lease)
            _release(change, lease)
        case Park():  # 2.8
            park(change, lease, message)
        case _:
            assert_never(message)


def _shrink(change: Transition, lease: Lease, message: Shrink) -> None:
    if message.bytes >= lease.bytes:
        text = f"the lease has {lease.bytes} bytes: release it instead of shrinking it by {message.bytes}"
        change.effects.append(Refuse(stream=message.stream, refusal=Refusal.SHRINK_TOO_LARGE, text=text))
        return
    left = lease.bytes - message.bytes
    reclaim = lease.reclaim
    if reclaim is not None:
        wish = reclaim.bytes - message.bytes
        reclaim = replace(reclaim, bytes=wish) if wish > 0 else None
    smaller = replace(lease, bytes=left, used=None if lease.used is None else min(lease.used, left), reclaim=reclaim)
    change.save(smaller)
    change.decide("shrunk", smaller, "the holder has freed a part", message.bytes)


def _end_turn(change: Transition, lease: Lease) -> None:
    reclaim = lease.reclaim
    if reclaim is not None and lease.turn is not None:
        # However often a holder changes its mind, the two deadlines together are the end.
        policy = change.state.policy
        last = reclaim.asked_at + policy.busy_deadline_s + policy.idle_deadline_s
        reclaim = replace(reclaim, deadline=min(change.now + policy.idle_deadline_s, last))
    change.put(replace(lease, turn=None, last_used=change.now, reclaim=reclaim))


def _begin_turn(change: Transition, lease: Lease, message: Busy) -> None:
    reclaim = lease.reclaim
    if reclaim is not None and lease.turn is None:
        # The job began before its holder heard of the wish.
        last = reclaim.asked_at + change.state.policy.busy_deadline_s
        reclaim = replace(reclaim, deadline=max(reclaim.deadline, last))
    begins = lease.turn is None or lease.turn.job_id != message.job_id
    since: float | None = change.now
    if lease.turn is not None and (not begins or lease.turn.since is None):
        # Of what was going on before the arbiter started nobody knows since when.
        since = lease.turn.since
    elif begins:
        learn_length(change, lease)
    change.put(
        replace(
            lease,
            turn=Turn(job_id=message.job_id, waiting_jobs=message.waiting_jobs, since=since),
            workload=message.workload or lease.workload,
            last_used=change.now,
            reclaim=reclaim,
            turns=lease.turns + 1 if begins and lease.wanted_since is not None else lease.turns,
        )
    )


def _release(change: Transition, lease: Lease) -> None:
    change.send(lease.stream, Released())
    if lease.stream is not None:
        change.effects.append(Close(stream=lease.stream))
    over = replace(lease, stream=None, turn=None)
    if change.state.devices[lease.device].driver and lease.confirmed:
        change.quarantine(over, "released", "until it is measured free", released=True)
    else:
        change.free(over, "released", "the holder has freed it")


def _lose_stream(change: Transition, stream: int) -> None:
    if stream in change.state.waiters:  # 3.1
        change.state = change.state.without_waiter(stream)
        return
    lease = change.state.lease_on(stream)
    if lease is None:
        return
    if not lease.confirmed:  # 3.2
        change.free(lease, "taken_back", "the waiter has gone")
        return
    change.put(replace(lease, stream=None))  # 3.3
    if lease.quarantine is None:
        change.decide("lost", lease, "the stream ended without a release")


def _revoke(change: Transition, event: Revoke) -> None:
    lease = change.state.leases.get(event.lease_id)
    if lease is None:
        return
    reason = event.reason or "revoked by an operator"
    if lease.quarantine is None:  # 4.1
        change.take_away(lease, "revoked", reason)
    elif lease.process is None:
        change.free(lease, "freed", reason)


def _reclaim_idle(change: Transition, event: ReclaimIdle) -> None:
    for device in change.state.devices if event.device is None else (event.device,):
        wish = event.bytes or change.state.devices[device].budget
        idle = [
            lease
            for lease in change.state.leases.values()
            if lease.device == device
            and lease.quarantine is None
            and lease.stream is not None
            and lease.turn is None
            and lease.reclaim is None
        ]
        for lease in sorted(idle, key=lambda one: (reload_seconds(change.state, one), one.last_used)):  # 4.2
            if wish <= 0:
                break
            size = min(wish, lease.bytes)
            change.ask(lease, size, "an operator wants memory back")
            wish -= size


def _measure(change: Transition, event: Sampled) -> None:
    device = change.state.devices.get(event.device)
    if device is None or (device.sample is not None and event.sample.at <= device.sample.at):
        return
    devices = {**change.state.devices, event.device: replace(device, sample=event.sample)}
    change.state = replace(change.state, devices=devices)
    for lease in [one for one in change.state.leases.values() if one.device == event.device]:
        left = still_there(change.state, lease)
        if left == 0:  # 5
            change.free(lease, "freed", "it is measured free")
        elif left is not None and left < lease.bytes:
            change.save(replace(lease, bytes=left))


def _serve(change: Transition) -> None:
    plan = None
    if not change.state.waiters:
        wanted: frozenset[str] = frozenset()
        reasons: Mapping[int, str] = {}
    elif change.state.grace_until is not None:  # 6
        wanted = frozenset()
        reasons = dict.fromkeys(change.state.waiters, "the arbiter has restarted and waits for its holders")
    else:  # 7
        plan = schedule(change.state, change.now)
        while plan.grant is not None:
            change.grant(plan.grant)
            plan = schedule(change.state, change.now)
        for lease_id, (size, waiter) in asked_of(plan.asks).items():
            change.ask(change.state.leases[lease_id], size, wish_of(waiter))
        for name, waiter in plan.evicts.items():
            change.evict(name, wish_of(waiter))
        wanted, reasons = plan.wanted, plan.reasons
    for lease in [
        one for one in change.state.leases.values() if (one.wanted_since is None) == (one.lease_id in wanted)
    ]:
        change.put(replace(lease, wanted_since=change.now if lease.wanted_since is None else None, turns=0))
    _tell(change, reasons, {} if plan is None else forecast(change.state, plan, change.now))


def _tell(change: Transition, reasons: Mapping[int, str], times: Mapping[int, float]) -> None:
    told: dict[int, Waiter] = {}
    for position, waiter in enumerate(in_order(change.state), start=1):  # 8
        reason, time = reasons[waiter.stream], times.get(waiter.stream)
        if (position, reason) != (waiter.told_position, waiter.told_reason) or is_noticeable(
            waiter.told_time, time, change.now
        ):
            told[waiter.stream] = replace(waiter, told_position=position, told_reason=reason, told_time=time)
            eta_s = None if time is None else time - change.now
            change.send(waiter.stream, Queued(position=position, reason=reason, eta_s=eta_s))
    if told:
        change.state = replace(change.state, waiters={**change.state.waiters, **told})
