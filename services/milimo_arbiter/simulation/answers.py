"""What one step must answer: each event against the rules, one by one, beside what must hold of the state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo_arbiter import effects, events
from milimo_arbiter.effects import Refusal
from milimo_arbiter.learning import with_peaks
from milimo_arbiter.simulation.laws import Violation, demand
from milimo_arbiter.simulation.messages import check_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milimo_arbiter.effects import Effect
    from milimo_arbiter.events import Event
    from milimo_arbiter.state import Lease, Request, State


class Answers:
    """What a step did: to whom it spoke, whom it refused, which streams it closed."""

    def __init__(self, done: Sequence[Effect]) -> None:
        self.done = done
        self.closed = {effect.stream for effect in done if isinstance(effect, effects.Close)}
        self.refused = {effect.stream: effect.refusal for effect in done if isinstance(effect, effects.Refuse)}
        self.decided = {effect.action for effect in done if isinstance(effect, effects.Decided)}

    def sent(self, stream: int | None, kind: type[effects.Reply]) -> list[effects.Reply]:
        """Replies of that kind to that stream."""
        return [
            effect.reply
            for effect in self.done
            if isinstance(effect, effects.Send) and effect.stream == stream and isinstance(effect.reply, kind)
        ]


def check_answer(before: State, event: Event, after: State, done: Sequence[Effect], now: float) -> None:
    """What one step has to do about time and about its event.

    Raises:
        Violation: when it did something else.
    """
    answers = Answers(done)
    overdue = _check_time(before, event, after, answers, now)
    match event:
        case events.Acquire(stream=stream, request=request):
            _check_acquire(before, stream, request, after, answers, overdue, now)
        case events.Resume(stream=stream, tenant=tenant, resume_token=token, process=process):
            if not _check_second(before, stream, after, answers, overdue):
                lease = _by_token(before, token)
                if lease is None:
                    heard = answers.sent(stream, effects.Revoked) and stream in answers.closed
                    demand(bool(heard), "answers", f"stream {stream} did not hear that its lease is over")
                elif lease.lease_id not in overdue:
                    _check_taken_up(
                        lease, stream, (lease.tenant, lease.process) == (tenant, process), after, answers, now
                    )
        case events.StreamEnded(stream=stream):
            demand(stream not in after.waiters and after.lease_on(stream) is None, "streams", f"{stream} has ended")
            lease = before.lease_on(stream)
            if lease is not None and lease.lease_id not in overdue:
                demand(
                    lease.confirmed == (lease.lease_id in after.leases),
                    "lost streams",
                    f"{lease.lease_id} was {'given up' if lease.confirmed else 'kept'} as its stream broke",
                )
        case events.ProcessGone(process=process):
            left = any(lease.process == process for lease in after.leases.values())
            left = left or any(waiter.request.process == process for waiter in after.waiters.values())
            left = left or any(key[1] == process for key in after.parked)
            demand(not left, "the dead", f"process {process.pid} has ended and has claims")
        case events.Revoke(lease_id=lease_id):
            _check_revoke(before.leases.get(lease_id), after.leases.get(lease_id), answers, overdue)
        case events.ReclaimIdle(device=device, bytes=size):
            _check_reclaim(before, device, size, after, overdue)
        case events.Sampled(device=device):
            _check_sample(before, device, after, event.sample.at)
        case events.ExternalSeen(name=name):
            seen = after.externals.get(name)
            demand(seen is not None and seen.bytes == event.bytes, "strangers' bytes", f"{name} was not believed")
            idle = seen is None or bool(event.bytes) or seen.asked_at is None
            demand(idle, "strangers' bytes", f"{name} has nothing and counts as asked")
        case events.Tick():
            pass
        case _:
            check_message(before, event, after, answers, overdue, now)


def _check_time(before: State, event: Event, after: State, answers: Answers, now: float) -> set[str]:
    """What time alone has to do; returns the leases of which it has decided."""
    overdue: set[str] = set()
    policy = before.policy
    for lease in before.leases.values():
        end, reclaim = lease.quarantine, lease.reclaim
        missed = end is None and reclaim is not None and reclaim.deadline <= now
        if missed or (end is None and lease.expires_at <= now) or (end and end.kill_at and end.kill_at <= now):
            overdue.add(lease.lease_id)
        over = after.leases.get(lease.lease_id)
        if over is None or end is not None:
            continue
        late = missed and now < lease.expires_at
        if late:
            lost = over.quarantine is not None and not over.quarantine.released
            released = isinstance(event, events.Release | events.Revoke) or bool(before.waiters)
            demand(lost or not before.waiters, "deadlines", f"{lease.lease_id} let its deadline pass while others wait")
            demand(released or not lost, "deadlines", f"{lease.lease_id} was lost though nobody waits")
        if over.quarantine is not None:
            offered = isinstance(event, events.Heartbeat) and event.stream == lease.stream
            demand(lease.confirmed or offered, "offers", f"{lease.lease_id} was never answered, and is not free")
            wait = policy.kill_after_s if late and before.waiters and not over.quarantine.released else None
            time = None if wait is None else now + wait
            demand(
                over.quarantine.kill_at == time,
                "kills",
                f"{lease.lease_id} is to be killed at {over.quarantine.kill_at}",
            )
    for lease in after.leases.values():
        if lease.quarantine is None:
            demand(now < lease.expires_at, "expiry", f"{lease.lease_id} was not renewed and is held")
            due = lease.reclaim is not None and lease.reclaim.deadline <= now
            demand(not due, "deadlines", f"{lease.lease_id} was asked by a time that is over")
        elif lease.quarantine.kill_at is not None:
            demand(now < lease.quarantine.kill_at, "kills", f"{lease.lease_id} should have been killed")
    killed = [effect.process for effect in answers.done if isinstance(effect, effects.Kill)]
    due_now = [
        lease.process
        for lease in before.leases.values()
        if lease.quarantine is not None and lease.quarantine.kill_at is not None and lease.quarantine.kill_at <= now
    ]
    demand(killed == due_now, "kills", f"{len(killed)} processes were killed, and {len(due_now)} were to be")
    if after.grace_until is not None:
        away = any(lease.stream is None and lease.quarantine is None for lease in after.leases.values())
        demand(away and now < after.grace_until, "grace", "the window goes on for nothing")
    return overdue


def _check_second(before: State, stream: int, after: State, answers: Answers, overdue: set[str]) -> bool:
    """Whether the stream had a claim already: then it must have been refused, and have it still."""
    lease = before.lease_on(stream)
    if stream not in before.waiters and (lease is None or lease.lease_id in overdue):
        return False
    demand(answers.refused.get(stream) is Refusal.SECOND_ACQUIRE, "refusals", f"stream {stream} may ask twice")
    mine = lease.resume_token if lease is not None else before.waiters[stream].request.resume_token
    kept = after.waiters[stream].request.resume_token if stream in after.waiters else ""
    now_held = after.lease_on(stream)
    demand(mine in (kept, now_held.resume_token if now_held else ""), "refusals", f"stream {stream} lost its claim")
    return True


def _by_token(state: State, token: str) -> Lease | None:
    return next((lease for lease in state.leases.values() if lease.resume_token == token), None)


def _check_taken_up(lease: Lease, stream: int, is_owner: bool, after: State, answers: Answers, now: float) -> None:
    back = after.leases.get(lease.lease_id)
    if not is_owner:
        refused = answers.refused.get(stream) is Refusal.RESUME_TOKEN_FOREIGN
        kept = back is not None and back.stream == lease.stream
        demand(refused and kept, "refusals", f"stream {stream} shows a token that is not its own")
        return
    demand(back is not None and back.stream == stream, "resuming", f"{lease.lease_id} is not on its new stream")
    assert back is not None
    closed = lease.stream is None or lease.stream == stream or lease.stream in answers.closed
    demand(closed, "resuming", f"the older stream of {lease.lease_id} was not closed")
    if lease.quarantine is not None:
        demand(bool(answers.sent(stream, effects.Revoked)), "resuming", f"{lease.lease_id} is lost and nobody says so")
        return
    granted = [one for one in answers.sent(stream, effects.Granted) if isinstance(one, effects.Granted)]
    same = [one for one in granted if one.lease.fencing_token == lease.fencing_token]
    demand(len(same) == 1, "resuming", f"{lease.lease_id} is not granted as it was")
    demand(back.expires_at == now + after.policy.ttl_s, "resuming", f"{lease.lease_id} is not renewed by its return")
    told = lease.reclaim is None or bool(answers.sent(stream, effects.ReclaimRequested))
    demand(told, "resuming", f"{lease.lease_id} does not hear what it is asked for")


def _check_acquire(
    before: State, stream: int, request: Request, after: State, answers: Answers, overdue: set[str], now: float
) -> None:
    if _check_second(before, stream, after, answers, overdue):
        return
    lease = _by_token(before, request.resume_token)
    if lease is not None:
        if lease.lease_id not in overdue:
            is_owner = (lease.tenant, lease.process) == (request.tenant, request.process)
            _check_taken_up(lease, stream, is_owner, after, answers, now)
        return
    waiting, granted = after.waiters.get(stream), after.lease_on(stream)
    earlier = next(
        (one for one in before.waiters.values() if one.request.resume_token == request.resume_token),
        None,
    )
    if earlier is not None and (earlier.request.tenant, earlier.request.process) != (request.tenant, request.process):
        refused = answers.refused.get(stream) is Refusal.RESUME_TOKEN_FOREIGN
        demand(refused, "refusals", f"stream {stream} shows a token that is not its own")
        return
    if earlier is not None:
        demand(earlier.stream in answers.closed, "repeats", f"stream {earlier.stream} is open and relied on no more")
        kept = waiting is None or (waiting.since, waiting.arrival) == (earlier.since, earlier.arrival)
        demand(kept, "repeats", f"stream {stream} has lost its place")
        demand((waiting or granted) is not None, "answers", f"stream {stream} was dropped")
        return
    refusal = _refusal(before, with_peaks(before, request))
    demand(answers.refused.get(stream) is refusal, "refusals", f"stream {stream}: {answers.refused.get(stream)}")
    demand(((waiting or granted) is None) == (refusal is not None), "answers", f"stream {stream} has a claim or none")
    demand(waiting is None or waiting.since == now, "answers", f"stream {stream} waits since another time")


def _refusal(state: State, request: Request) -> Refusal | None:
    places = [(one, device) for one in request.footprints for device in one.places(state.devices)]
    if not places:
        return Refusal.DEVICE_UNKNOWN
    if all(footprint.bytes > state.devices[device].budget for footprint, device in places):
        return Refusal.FOOTPRINT_TOO_LARGE
    unknown = {one.device for one in state.externals.values() if one.bytes is None}
    if all(device in unknown for _, device in places):
        return Refusal.EXTERNAL_UNKNOWN
    return Refusal.QUEUE_FULL if len(state.waiters) >= state.policy.queue_bound else None


def _check_revoke(lease: Lease | None, over: Lease | None, answers: Answers, overdue: set[str]) -> None:
    if lease is None or lease.lease_id in overdue:
        return
    if lease.quarantine is None:
        heard = lease.stream is None or bool(answers.sent(lease.stream, effects.Revoked))
        demand(heard, "operators", f"{lease.lease_id} was revoked and does not hear of it")
        held = over is not None and over.quarantine is None
        demand(not held, "operators", f"{lease.lease_id} was revoked and is held")
    elif lease.process is not None:
        demand(over is not None, "operators", f"{lease.lease_id} is free by word of mouth")


def _check_reclaim(before: State, wanted: str | None, size: int, after: State, overdue: set[str]) -> None:
    for device in before.devices if wanted is None else (wanted,):
        idle = [
            lease
            for lease in before.leases.values()
            if lease.device == device
            and lease.lease_id not in overdue
            and lease.quarantine is None
            and lease.stream is not None
            and lease.turn is None
            and lease.reclaim is None
        ]
        asked = [lease for lease in idle if after.leases[lease.lease_id].reclaim is not None]
        given = sum(reclaim.bytes for lease in asked if (reclaim := after.leases[lease.lease_id].reclaim) is not None)
        least = min(size or before.devices[device].budget, sum(lease.bytes for lease in idle))
        demand(given >= least, "operators", f"{given} bytes of {device} were asked for, of {least}")
        for lease in before.leases.values():
            if lease.turn is not None and lease.reclaim is None and not before.waiters and lease.device == device:
                now_asked = after.leases.get(lease.lease_id)
                busy = now_asked is not None and now_asked.reclaim is not None
                demand(not busy, "operators", f"{lease.lease_id} is busy and was asked")


def _check_sample(before: State, device: str, after: State, at: float) -> None:
    earlier, sample = before.devices[device].sample, after.devices[device].sample
    newer = earlier is None or at > earlier.at
    if sample is None or (newer and sample.at != at) or (not newer and sample != earlier):
        raise Violation("measurements", f"the reading of {at:.3f} s was taken for another")
    for lease in before.leases.values():
        end = lease.quarantine
        if lease.device != device or end is None or lease.lease_id in after.leases:
            continue
        taken_up = any(
            one.process == lease.process and one.lease_id not in before.leases for one in after.leases.values()
        )
        counts = newer and at > end.since and (end.released or at > lease.expires_at)
        demand(counts or taken_up, "measurements", f"{lease.lease_id} is free by a reading that says nothing about it")
    if not newer or sample.by_process is None:
        return
    for lease in before.leases.values():
        end = lease.quarantine
        if lease.device != device or end is None or lease.process is None:
            continue
        counts = at > end.since and (end.released or at > lease.expires_at)
        alone = sum(1 for one in before.leases.values() if one.process == lease.process) == 1
        if counts and alone and not sample.by_process.get(lease.process, 0):
            demand(lease.lease_id not in after.leases, "measurements", f"{lease.lease_id} is measured free, and is not")
