"""When those who wait will probably be served: from what turns took so far, loads, holds, deadlines and the queue.

Only tells: no decision depends on it. Nothing of it is on record, so an arbiter that has restarted learns anew.

A turn of a tenant takes as long as its latest ones did, of the same workload where there were any (a mean in which each
counts a quarter, see `learn_length`). A load takes what the request says, or its bytes at the usual speed.
  - A holder that was asked leaves at the end of its turn, at its deadline at the latest; an idle one at once. Copying
    its weights to the host takes their bytes at the speed of the bus.
  - One that may not be asked yet is asked after its minimum hold and the end of its batch: by time, or after as many
    turns as it may still begin.
  - A turn that has lasted longer than expected is expected to last as much longer again.
  - Memory that was released shows at once; a program that is no tenant takes as long as a copy, one at work up to its
    deadline.
  - A waiter is served when the last of those has left that its device waits for. Where it needs more than is on its
    way, it is served after the one ahead of it: when that was served, has loaded and had its turn or its minimum hold.
Wherever a length is needed that is not known, nothing is told, and nothing to those behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from milimo_arbiter.plan import is_leaving, is_settling
from milimo_arbiter.queue import in_order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from milimo_arbiter.plan import Schedule
    from milimo_arbiter.state import Lease, State, Waiter, Workload

# An estimate is told again when it has moved by more than this, in seconds, and by more than this part of what is left.
_NOTICEABLE_S: Final = 5.0
_NOTICEABLE_PART: Final = 0.25


def forecast(state: State, plan: Schedule, now: float) -> Mapping[int, float]:
    """By stream, the time at which the request will probably be served; absent where it is not known.

    `state` is the one in which the holders of `plan` have been asked.
    """
    times: dict[int, float] = {}
    left: float | None = None
    for waiter in in_order(state):
        device = plan.devices.get(waiter.stream)
        at = left if device is None else _memory_is_back(state, device, plan.wanted, now)
        if at is not None:
            times[waiter.stream] = at
        left = None if at is None else _leaves_again(state, waiter, at)
    return times


def is_noticeable(told: float | None, expected: float | None, now: float) -> bool:
    """Whether who was told the one time should hear of the other."""
    if told is None or expected is None:
        return told is not expected
    return abs(expected - told) > max(_NOTICEABLE_S, _NOTICEABLE_PART * (expected - now))


def _memory_is_back(state: State, device: str, wanted: frozenset[str], now: float) -> float | None:
    times: list[float] = [now]
    for lease in state.leases.values():
        if lease.device == device and lease.quarantine is None and (lease.reclaim or lease.lease_id in wanted):
            at = _leaves(state, lease, now)
            if at is None:
                return None
            times.append(at)
    for program in state.externals.values():
        if program.device == device and is_leaving(program, state, now):
            assert program.asked_at is not None
            deadline = program.asked_at + state.policy.external_deadline_s
            quick = now + (program.bytes or 0) / state.policy.bus_bytes_per_s
            times.append(deadline if program.busy else min(quick, deadline))
    if len(times) == 1 and not any(
        one.device == device and is_settling(one, state, now) for one in state.leases.values()
    ):
        # Nothing is on its way that is known of.
        return None
    return max(times)


def _leaves(state: State, lease: Lease, now: float) -> float | None:
    """When the holder of a lease that was asked for, or will be, has freed it."""
    policy, copy = state.policy, lease.bytes / state.policy.bus_bytes_per_s
    end = _turn_ends(state, lease, now)
    if lease.reclaim is not None:
        return lease.reclaim.deadline if end is None else min(end + copy, lease.reclaim.deadline)
    if end is None or lease.turn is None or lease.wanted_since is None:
        return None
    asked = max(now, lease.granted_at + lease.min_hold_s)
    turns = min(lease.turn.waiting_jobs, policy.batch_turns - lease.turns)
    if turns > 0:
        batch = end + turns * (_length(state, lease.tenant, lease.workload) or 0.0)
        asked = max(asked, min(batch, lease.wanted_since + policy.batch_s))
    return min(max(end, asked) + copy, asked + policy.busy_deadline_s)


def _turn_ends(state: State, lease: Lease, now: float) -> float | None:
    if lease.turn is None:
        return now
    length = _length(state, lease.tenant, lease.workload)
    if length is None or lease.turn.since is None:
        return None
    # The first turn begins with a load.
    load = lease.load_seconds if lease.turn.since == lease.granted_at else 0.0
    expected = lease.turn.since + load + length
    return now + abs(now - expected)


def _leaves_again(state: State, waiter: Waiter, at: float) -> float | None:
    """When a waiter that is served at that time has loaded and had its turn."""
    request = waiter.request
    length = _length(state, request.tenant, request.workload)
    if length is None:
        return None
    best = request.footprints[0]
    load = best.load_seconds or best.bytes / state.policy.reload_bytes_per_s
    return at + max(request.min_hold_s, load + length)


def _length(state: State, tenant: str, workload: Workload | None) -> float | None:
    known = state.lengths.get((tenant, workload))
    return state.lengths.get((tenant, None)) if known is None else known
