"""Who is served next, on which device, in which grade, and who has to make room for it.

Decides only: `schedule` looks at a state and returns what should happen; `core` makes it happen.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from milimo_arbiter.memory import gain, is_unknown, ledger, reload_seconds, room
from milimo_arbiter.queue import in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from milimo_arbiter.state import External, Footprint, Lease, State, Waiter


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """This waiter is served now."""

    waiter: Waiter
    footprint: Footprint
    device: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """This holder should give back that many bytes, for that waiter."""

    lease_id: str
    bytes: int
    waiter: Waiter


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """What should happen now. After a grant the rest is open: the caller applies it and schedules again."""

    grant: Grant | None
    asks: tuple[Ask, ...]
    # Programs that should give back what they hold, and for whom.
    evicts: Mapping[str, Waiter]
    # Busy leases that a waiter needs and that may not be asked yet.
    wanted: frozenset[str]
    # By stream, why each waiter still waits.
    reasons: Mapping[int, str]
    # By stream, the device whose memory it waits for; absent where nothing that is on its way would be enough.
    devices: Mapping[int, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Option:
    # 0 is the best grade.
    rank: int
    footprint: Footprint
    device: str
    # What each victim has to give.
    victims: tuple[tuple[Lease, int], ...]
    cost: float
    fits_now: bool
    # Programs that are no tenants and have to go, too.
    programs: tuple[External, ...] = ()


def may_be_asked(lease: Lease, state: State, now: float) -> bool:
    """Whether a busy holder may be asked to yield: after its minimum hold, and at the end of its batch of turns."""
    if lease.turn is None:
        return True
    if now < lease.granted_at + lease.min_hold_s:
        return False
    if not lease.confirmed:
        # Its holder has not said yet how many jobs wait behind this one.
        return False
    if lease.turn.waiting_jobs == 0 or lease.turns >= state.policy.batch_turns:
        return True
    return lease.wanted_since is not None and now >= lease.wanted_since + state.policy.batch_s


def is_settling(lease: Lease, state: State, now: float) -> bool:
    """Whether the holder has released the bytes just now: they should show as free any moment."""
    return (
        lease.quarantine is not None
        and lease.quarantine.released
        and now < lease.quarantine.since + state.policy.settle_s
    )


def coming_back(state: State, device: str, now: float) -> int:
    """Bytes of the device that their holders were asked for or have just released."""
    programs = [one for one in state.externals.values() if one.device == device and is_leaving(one, state, now)]
    return sum(gain(state, one) for one in programs) + sum(
        min(lease.bytes, lease.reclaim.bytes)
        if lease.quarantine is None and lease.reclaim is not None
        else lease.bytes
        if is_settling(lease, state, now)
        else 0
        for lease in state.leases.values()
        if lease.device == device
    )


def schedule(state: State, now: float) -> Schedule:
    """Serves the queue in order; a later request goes first only where it takes nothing that an earlier one waits for.

    For each waiter, in order:
      7.1 among its grades and their devices, the cheapest option counts: seconds to bring its victims' weights back,
          plus a price for each grade below the best, plus a price for each busy holder to wait for;
      7.2 it fits now: granted;
      7.3 it will fit when what was asked for has come back: waits, and its bytes are set aside;
      7.4 it will fit when others leave: they are asked, busy ones only when they may be; its bytes are set aside;
      7.5 nothing that could be asked would make room: waits, and sets nothing aside.
    """
    # Bytes of each device that are on their way back, less what earlier waiters have set aside.
    spare = {device: coming_back(state, device, now) for device in state.devices}
    aside = dict.fromkeys(state.devices, 0)
    asked: dict[str, int] = {}
    asks: list[Ask] = []
    evicts: dict[str, Waiter] = {}
    wanted: set[str] = set()
    reasons: dict[int, str] = {}
    devices: dict[int, str] = {}
    free = {device: ledger(state, device).free for device in state.devices}
    queue = in_order(state)
    for place, waiter in enumerate(queue):
        if place and all(
            free[device] + spare[device] <= aside[device]
            and not _victims(state, device, 1, asked)
            and not _programs(state, device, evicts, now)
            for device in state.devices
        ):
            # Whatever there is has been promised: the rest of a long queue need not be looked at.
            reasons.update({later.stream: _ahead(place) for later in queue[place:]})
            break
        option = _cheapest(_options(waiter, state, spare, aside, asked, evicts, now))
        if option is None:
            reasons[waiter.stream] = _ahead(place) if place else "no holder could make room for it"
            continue
        if option.fits_now:
            grant = Grant(waiter=waiter, footprint=option.footprint, device=option.device)
            return Schedule(grant=grant, asks=(), evicts={}, wanted=frozenset(), reasons={}, devices={})
        aside[option.device] += option.footprint.bytes
        reasons[waiter.stream] = _reason(option, state)
        devices[waiter.stream] = option.device
        for program in option.programs:
            evicts[program.name] = waiter
            spare[option.device] += gain(state, program)
        for lease, size in option.victims:
            asked[lease.lease_id] = asked.get(lease.lease_id, 0) + size
            spare[option.device] += size
            if may_be_asked(lease, state, now):
                asks.append(Ask(lease_id=lease.lease_id, bytes=size, waiter=waiter))
            else:
                wanted.add(lease.lease_id)
    return Schedule(
        grant=None, asks=tuple(asks), evicts=evicts, wanted=frozenset(wanted), reasons=reasons, devices=devices
    )


def _options(
    waiter: Waiter,
    state: State,
    spare: Mapping[str, int],
    aside: Mapping[str, int],
    asked: Mapping[str, int],
    evicts: Mapping[str, Waiter],
    now: float,
) -> Iterable[_Option]:
    rooms = {device: room(state, device, waiter) for device in state.devices}
    for rank, footprint in enumerate(waiter.request.footprints):
        for device in footprint.places(state.devices):
            if footprint.bytes > state.devices[device].budget or is_unknown(state, device):
                continue
            missing = footprint.bytes - (rooms[device] + spare[device] - aside[device])
            programs = _programs(state, device, evicts, now)
            for going in ((), programs) if missing > 0 and programs else ((),):
                left = missing - sum(gain(state, program) for program in going)
                victims = _victims(state, device, left, asked) if left > 0 else ()
                if left > sum(size for _, size in victims):
                    continue
                busy = sum(1 for lease, _ in victims if lease.turn is not None and lease.reclaim is None)
                busy += sum(1 for program in going if program.busy)
                yield _Option(
                    rank=rank,
                    footprint=footprint,
                    device=device,
                    victims=victims,
                    cost=rank * state.policy.downgrade_s
                    + busy * state.policy.busy_wait_s
                    # Those that were asked before are leaving anyhow.
                    + sum(reload_seconds(state, lease) for lease, _ in victims if lease.reclaim is None)
                    + sum((program.bytes or 0) / state.policy.reload_bytes_per_s for program in going),
                    fits_now=missing <= 0 and footprint.bytes <= rooms[device],
                    programs=going,
                )


def _programs(state: State, device: str, evicts: Mapping[str, Waiter], now: float) -> tuple[External, ...]:
    """The programs of the device that can be asked, and would make room."""
    return tuple(
        one
        for one in state.externals.values()
        if one.device == device and one.name not in evicts and not is_leaving(one, state, now) and gain(state, one) > 0
    )


def is_leaving(program: External, state: State, now: float) -> bool:
    """Whether the program was asked, and still has time to give its memory back."""
    return program.asked_at is not None and now < program.asked_at + state.policy.external_deadline_s


def _cheapest(options: Iterable[_Option]) -> _Option | None:
    # Of equal costs the better grade, and of those one that fits now: nobody waits for what is free elsewhere.
    return min(options, key=lambda option: (option.cost, option.rank, not option.fits_now), default=None)


def _victims(state: State, device: str, missing: int, asked: Mapping[str, int]) -> tuple[tuple[Lease, int], ...]:
    """Who should give `missing` bytes back: those already asked, then the idle, then the busy.

    Within each class the cheapest to bring back goes first, the least recently used among equals. Nobody is chosen
    whom the others make superfluous. The answer may be too small.
    """

    def left(lease: Lease) -> int:
        return lease.bytes - asked.get(lease.lease_id, 0) - (lease.reclaim.bytes if lease.reclaim else 0)

    candidates = sorted(
        (
            lease
            for lease in state.leases.values()
            # One that is away cannot be asked.
            if lease.device == device and lease.quarantine is None and lease.stream is not None and left(lease) > 0
        ),
        key=lambda lease: (
            lease.reclaim is None and lease.lease_id not in asked,
            lease.turn is not None,
            reload_seconds(state, lease),
            lease.last_used,
            lease.fencing_token,
        ),
    )
    chosen: list[Lease] = []
    found = 0
    for lease in candidates:
        if found >= missing:
            break
        chosen.append(lease)
        found += left(lease)
    for lease in reversed(chosen[:-1]):
        if found - left(lease) >= missing:
            chosen.remove(lease)
            found -= left(lease)
    takes: list[tuple[Lease, int]] = []
    for lease in chosen:
        take = min(left(lease), missing)
        takes.append((lease, take))
        missing -= take
    return tuple(takes)


def _ahead(place: int) -> str:
    return "1 request is ahead" if place == 1 else f"{place} requests are ahead"


def _reason(option: _Option, state: State) -> str:
    """What the waiter waits for: its victims, or those who were asked before."""
    holders = [lease for lease, _ in option.victims] or [
        lease for lease in state.leases.values() if lease.device == option.device and lease.reclaim is not None
    ]
    busy = next((lease for lease in holders if lease.turn is not None), None)
    if busy is not None and busy.turn is not None:
        return f"{busy.tenant} is busy" + (f" on job {busy.turn.job_id}" if busy.turn.job_id else "")
    names = {lease.tenant for lease in holders} | {program.name for program in option.programs}
    names |= {one.name for one in state.externals.values() if one.device == option.device and one.asked_at is not None}
    if names:
        return f"memory of {', '.join(sorted(names))} is on its way back"
    return f"memory of {option.device} is on its way back"


def wish_of(waiter: Waiter) -> str:
    """Why memory is asked for, in words."""
    size = waiter.request.footprints[0].bytes
    for unit, bytes_ in (("GiB", 2**30), ("MiB", 2**20)):
        if size >= bytes_:
            return f"{waiter.request.tenant} waits for {size / bytes_:.1f} {unit}"
    return f"{waiter.request.tenant} waits for {size} bytes"


def asked_of(asks: Iterable[Ask]) -> Mapping[str, tuple[int, Waiter]]:
    """The asks by lease: all bytes together, and the first who wants them."""
    sums: dict[str, tuple[int, Waiter]] = {}
    for ask in asks:
        before = sums.get(ask.lease_id)
        sums[ask.lease_id] = (ask.bytes, ask.waiter) if before is None else (before[0] + ask.bytes, before[1])
    return sums


def next_change(state: State, now: float) -> float | None:
    """The next time after `now` at which time alone changes a decision; None when there is none."""
    policy = state.policy
    times = chain(
        () if state.grace_until is None else (state.grace_until,),
        (lease.expires_at for lease in state.leases.values() if lease.quarantine is None),
        (lease.reclaim.deadline for lease in state.leases.values() if lease.reclaim is not None),
        *(
            (lease.granted_at + lease.min_hold_s, lease.wanted_since + policy.batch_s)
            for lease in state.leases.values()
            if lease.wanted_since is not None
        ),
        (
            lease.quarantine.since + policy.settle_s
            for lease in state.leases.values()
            if lease.quarantine is not None and lease.quarantine.released
        ),
        (
            lease.quarantine.kill_at
            for lease in state.leases.values()
            if lease.quarantine is not None and lease.quarantine.kill_at is not None
        ),
        (
            program.asked_at + policy.external_deadline_s
            for program in state.externals.values()
            if program.asked_at is not None
        ),
    )
    return min((time for time in times if time > now), default=None)
