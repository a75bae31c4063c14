"""What a step must answer to a holder's message: the rules of the second section of `core`, seen from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo_arbiter import effects, events
from milimo_arbiter.effects import Refusal
from milimo_arbiter.simulation.laws import demand

if TYPE_CHECKING:
    from milimo_arbiter.simulation.answers import Answers
    from milimo_arbiter.state import Lease, State


def check_message(
    before: State, message: events.Message, after: State, answers: Answers, overdue: set[str], now: float
) -> None:
    """What is to be done about what a holder says; `overdue` are the leases of which time has decided first."""
    stream = message.stream
    lease = before.lease_on(stream)
    if lease is None:
        _check_stranger(before, message, after, answers)
        return
    if lease.lease_id in overdue:
        return
    heard = after.leases.get(lease.lease_id)
    if isinstance(message, events.Release):
        ended = bool(answers.sent(stream, effects.Released)) and stream in answers.closed
        demand(ended, "releases", f"{lease.lease_id} was released and not answered")
        measured = before.devices[lease.device].driver and lease.confirmed
        free = heard is None if not measured else heard is None or bool(heard.quarantine and heard.quarantine.released)
        demand(free, "releases", f"{lease.lease_id} was released and counts as before")
        killed = heard is not None and heard.quarantine is not None and heard.quarantine.kill_at is not None
        demand(not killed, "kills", f"{lease.lease_id} was released and is to be killed")
    elif lease.quarantine is not None:
        demand(bool(answers.sent(stream, effects.Revoked)), "lost leases", f"{lease.lease_id} is lost and was heard")
        demand(heard in (lease, None), "lost leases", f"{lease.lease_id} is lost and was changed")
        return
    elif heard is None:
        demand(False, "lost leases", f"{lease.lease_id} spoke and is gone")
    else:
        _check_spoken(before, message, lease, heard, answers, now)
        if isinstance(message, events.Park):
            _check_park(before, message, lease, answers)
    _check_length(before, message, lease, after, now)


def _check_stranger(before: State, message: events.Message, after: State, answers: Answers) -> None:
    stream = message.stream
    if stream not in before.waiters:
        heard = bool(answers.sent(stream, effects.Revoked)) and stream in answers.closed
        demand(heard, "answers", f"stream {stream} did not hear that its lease is over")
    elif isinstance(message, events.Release):
        left = stream not in after.waiters and after.lease_on(stream) is None
        heard = bool(answers.sent(stream, effects.Released)) and stream in answers.closed
        demand(left and heard, "releases", f"stream {stream} has withdrawn its request, and waits")


def _check_spoken(
    before: State, message: events.Message, lease: Lease, heard: Lease, answers: Answers, now: float
) -> None:
    name, policy, stream, wish = lease.lease_id, before.policy, message.stream, lease.reclaim
    match message:
        case events.Heartbeat(sequence=sequence, used=used):
            renewed = effects.Renewed(sequence=sequence) in answers.sent(stream, effects.Renewed)
            demand(renewed and heard.expires_at == now + policy.ttl_s, "renewals", f"{name} was not renewed")
            demand(heard.confirmed, "renewals", f"{name} has answered its offer and counts as not")
            demand(heard.used == (lease.used if used is None else used), "renewals", f"{name} uses {heard.used}")
        case events.Shrink(bytes=size):
            too_large = answers.refused.get(stream) is Refusal.SHRINK_TOO_LARGE
            demand(too_large == (size >= lease.bytes), "shrinking", f"{name} of {lease.bytes} bytes gave {size}")
            demand(heard.bytes == lease.bytes - (0 if too_large else size), "shrinking", f"{name} has {heard.bytes}")
            if wish is not None and not too_large:
                more = heard.reclaim is not None and heard.reclaim.asked_at == wish.asked_at
                demand(more == (wish.bytes > size), "shrinking", f"{name} was asked for {wish.bytes} and gave {size}")
        case events.Idle():
            demand(heard.turn is None, "turns", f"{name} is idle and has a turn")
            if wish is not None and lease.turn is not None:
                last = min(
                    now + policy.idle_deadline_s, wish.asked_at + policy.busy_deadline_s + policy.idle_deadline_s
                )
                deadline = None if heard.reclaim is None else heard.reclaim.deadline
                demand(deadline == last, "deadlines", f"{name} is idle and has time until {deadline}, not {last}")
        case events.Busy(job_id=job_id, waiting_jobs=waiting):
            turn = heard.turn
            known = turn is not None and (turn.job_id, turn.waiting_jobs) == (job_id, waiting)
            demand(known, "turns", f"{name} is busy and nobody knows")
            if wish is not None:
                last = max(wish.deadline, wish.asked_at + policy.busy_deadline_s) if not lease.turn else wish.deadline
                deadline = None if heard.reclaim is None else heard.reclaim.deadline
                demand(deadline == last, "deadlines", f"{name} is busy and has time until {deadline}, not {last}")
            begins = lease.turn is None or lease.turn.job_id != job_id
            if lease.wanted_since is not None and heard.wanted_since == lease.wanted_since:
                demand(heard.turns == lease.turns + begins, "batches", f"{name} has begun turns that nobody counts")
            over = heard.turns >= policy.batch_turns and now >= heard.granted_at + heard.min_hold_s
            goes_on = heard.wanted_since is not None and heard.confirmed and over
            demand(not goes_on, "batches", f"{name} has had its batch, and nobody asks it")
        case _:
            pass


def _check_park(before: State, message: events.Park, lease: Lease, answers: Answers) -> None:
    others = sum(
        max(one.bytes, one.used or 0)
        for key, one in before.parked.items()
        if lease.process is None or key != (lease.tenant, lease.process)
    )
    mine = None if lease.process is None else before.parked.get((lease.tenant, lease.process))
    had = 0 if mine is None else mine.bytes
    size = message.bytes if message.bytes <= before.parking_budget - others else min(message.bytes, had)
    given = answers.sent(message.stream, effects.Parked)
    right = given == [effects.Parked(bytes=0 if lease.process is None else size)]
    demand(right, "parked bytes", f"{lease.tenant} asked for {message.bytes} beside {others}, had {had}: {given}")


def _check_length(before: State, message: events.Message, lease: Lease, after: State, now: float) -> None:
    """The mean of its tenant's turns has moved towards the one that has ended."""
    turn = lease.turn
    ends = isinstance(message, events.Idle | events.Release)
    ends = ends or (isinstance(message, events.Busy) and turn is not None and turn.job_id != message.job_id)
    if turn is None or turn.since is None or not ends or not lease.confirmed or lease.quarantine is not None:
        return
    load = lease.load_seconds if turn.since == lease.granted_at else 0.0
    seconds = max(0.0, now - turn.since - load)
    known = after.lengths.get((lease.tenant, None))
    mean = before.lengths.get((lease.tenant, None), seconds)
    moved = known is not None and abs(known - seconds) <= 0.99 * abs(mean - seconds) + 1e-6
    demand(moved, "lengths", f"a turn of {lease.tenant} took {seconds:.1f} s, {mean:.1f} before: {known} was learned")
