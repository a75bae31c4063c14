"""The arbiter in a world where everything goes wrong; and proof that the world would notice a broken arbiter."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from milimo_arbiter import admission, core, events, learning, memory, parking, plan, transition
from milimo_arbiter import state as state_module
from milimo_arbiter.simulation import LONGEST_WAIT_S, Violation, simulate, world
from milimo_arbiter.simulation.__main__ import main, schedule
from milimo_arbiter.simulation.shrink import attempt, shrunk
from milimo_arbiter.state import Quarantine, Sample, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from milimo_arbiter.effects import Effect
    from milimo_arbiter.state import Lease, Waiter
    from milimo_arbiter.transition import Transition

    Mutation = Callable[[pytest.MonkeyPatch], None]

# Short worlds for variety, long ones for what needs time to go wrong.
WORLDS = [(seed, 4_000) for seed in range(15)] + [(seed, 20_000) for seed in range(100, 102)]


def test_100_000_random_steps_hold_all_laws() -> None:
    reports = [simulate(seed, steps) for seed, steps in WORLDS]
    assert sum(report.steps for report in reports) == 100_000
    seen = set().union(*(report.actions for report in reports))
    assert seen >= {
        "granted",
        "reclaim_requested",
        "released",
        "shrunk",
        "lost",
        "resumed",
        "expired",
        "revoked",
        "freed",
        "taken_back",
        "parked",
        "not_parked",
        "evict_requested",
    }, "a schedule that never gets into trouble proves nothing"
    assert sum(report.grants for report in reports) > 500
    assert sum(report.restarts for report in reports) > 20
    assert max(report.longest_wait_s for report in reports) < LONGEST_WAIT_S


def test_a_seed_repeats_its_world() -> None:
    assert simulate(3, 2_000) == simulate(3, 2_000)


@pytest.mark.parametrize("law", ["granted bytes", "fencing"])
def test_a_schedule_that_breaks_a_law_is_shrunk_to_what_it_takes(law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (overcommit if law == "granted bytes" else reuse_tokens)(monkeypatch)
    failure = attempt(2, 5_000)
    assert failure is not None
    assert failure.law == law
    least = shrunk(failure)
    assert least.law == law
    assert least.steps <= failure.steps
    assert len(least.troubles) < min(4, len(failure.troubles))
    assert attempt(2, least.steps, keep=least.troubles) == least
    for trouble in least.troubles:
        other = attempt(2, least.steps, keep=set(least.troubles) - {trouble})
        assert other is None or other.law != law, "none of what is left can be left out"
    assert any("granted" in line for line in schedule(least))


def test_the_command_says_what_it_has_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "7", "--steps", "300"]) == 0
    assert capsys.readouterr().out == "300 steps in 1 worlds, seeds 7 to 7: every law held\n"


def overcommit(patch: pytest.MonkeyPatch) -> None:
    """Two claims pass on one snapshot: the budget is looked at, the grants are not."""

    def room(state: State, device_id: str, claim: Waiter) -> int:
        return state.devices[device_id].budget

    patch.setattr(plan, "room", room)


def revive(patch: pytest.MonkeyPatch) -> None:
    """A late heartbeat renews a lease that is over."""

    def hear(change: Transition, message: events.Message) -> None:
        lease = change.state.lease_on(message.stream)
        if lease is not None and isinstance(message, events.Heartbeat):
            change.put(replace(lease, quarantine=None, expires_at=change.now + change.state.policy.ttl_s))
        original(change, message)

    original = core._hear
    patch.setattr(core, "_hear", hear)


def believe_releases(patch: pytest.MonkeyPatch) -> None:
    """Released memory is lent again before the driver has it back."""

    def release(change: Transition, lease: Lease) -> None:
        change.free(lease, "released", "")

    patch.setattr(core, "_release", release)


def forget_quarantine(patch: pytest.MonkeyPatch) -> None:
    """A lost holder's memory is lent again while it is still there."""

    def take_away(self: Transition, lease: Lease, action: str, reason: str) -> None:
        self.free(lease, action, reason)

    patch.setattr(transition.Transition, "take_away", take_away)


def free_lost_streams(patch: pytest.MonkeyPatch) -> None:
    """A broken stream counts as a release."""

    def lose_stream(change: Transition, stream: int) -> None:
        lease = change.state.lease_on(stream)
        if lease is None:
            original(change, stream)
        else:
            change.free(lease, "freed", "")

    original = core._lose_stream
    patch.setattr(core, "_lose_stream", lose_stream)


def keep_dead_offers(patch: pytest.MonkeyPatch) -> None:
    """A grant to a waiter that has gone stays granted."""

    def lose_stream(change: Transition, stream: int) -> None:
        lease = change.state.lease_on(stream)
        if lease is not None and not lease.confirmed:
            change.put(replace(lease, stream=None))
        else:
            original(change, stream)

    original = core._lose_stream
    patch.setattr(core, "_lose_stream", lose_stream)


def take_back_what_is_held(patch: pytest.MonkeyPatch) -> None:
    """A lease that was granted at once, and is used already, counts as an offer that nobody has answered."""

    def grant(self: Transition, what: plan.Grant) -> None:
        original(self, what)
        lease = next(one for one in self.state.leases.values() if one.stream == what.waiter.stream)
        self.put(replace(lease, confirmed=False))

    original = transition.Transition.grant
    patch.setattr(transition.Transition, "grant", grant)


def forget_repeats(patch: pytest.MonkeyPatch) -> None:
    """A request that is repeated, since its answer was lost, counts as another one."""
    patch.setattr(admission, "_lease_of", lambda state, token: None)


def wait_twice(patch: pytest.MonkeyPatch) -> None:
    """A request that is repeated waits in two places."""
    patch.setattr(admission, "_is_same", lambda one, other: False)


def no_grace(patch: pytest.MonkeyPatch) -> None:
    """An arbiter that has restarted grants before its holders are back."""

    def end_grace(change: Transition) -> None:
        change.state = replace(change.state, grace_until=None)

    patch.setattr(core, "_end_grace", end_grace)


def believe_stale_samples(patch: pytest.MonkeyPatch) -> None:
    """A reading that is older than the end of the lease frees its memory."""

    def still_there(state: State, lease: Lease) -> int | None:
        sample = state.devices[lease.device].sample
        if sample is None or lease.quarantine is None:
            return None
        early = replace(
            lease, quarantine=Quarantine(since=-1.0, reason="", released=lease.quarantine.released), expires_at=-1.0
        )
        return original(state, early)

    original = memory.still_there
    patch.setattr(core, "still_there", still_there)


def believe_samples_of_holders_that_may_load(patch: pytest.MonkeyPatch) -> None:
    """A revoked holder that has not heard of it yet loads into memory that was measured free."""

    def still_there(state: State, lease: Lease) -> int | None:
        return original(state, replace(lease, expires_at=-1.0))

    original = memory.still_there
    patch.setattr(core, "still_there", still_there)


def reuse_tokens(patch: pytest.MonkeyPatch) -> None:
    """Tokens start again when nothing is held."""

    def grant(self: Transition, what: plan.Grant) -> None:
        if not self.state.leases:
            self.state = replace(self.state, tokens={})
        original(self, what)

    original = transition.Transition.grant
    patch.setattr(transition.Transition, "grant", grant)


def ignore_the_dead(patch: pytest.MonkeyPatch) -> None:
    """The end of a process frees nothing."""

    def step(state: State, event: events.Event, now: float) -> tuple[State, tuple[Effect, ...]]:
        return original(state, events.Tick() if isinstance(event, events.ProcessGone) else event, now)

    original = core.step
    patch.setattr(core, "step", step)


def never_ask_the_busy(patch: pytest.MonkeyPatch) -> None:
    """A tenant with an endless queue of its own keeps the device for ever."""

    def may_be_asked(lease: Lease, state: State, now: float) -> bool:
        return lease.turn is None

    patch.setattr(plan, "may_be_asked", may_be_asked)


def count_the_same_memory_twice(patch: pytest.MonkeyPatch) -> None:
    """What holders use is taken off again beside what they were granted, so that nothing large ever fits."""

    def room(state: State, device_id: str, claim: Waiter) -> int:
        sample = state.devices[device_id].sample or Sample(at=0.0, used=0)
        used = sample.used or sum(lease.used or 0 for lease in state.leases.values())
        return original(state, device_id, claim) - used - 40

    original = memory.room
    patch.setattr(plan, "room", room)


def park_what_others_have(patch: pytest.MonkeyPatch) -> None:
    """Host memory is lent twice: each tenant's own parked weights are all that is looked at."""
    patch.setattr(parking, "parking_room", lambda state, key: state.parking_budget)


def forget_who_parks(patch: pytest.MonkeyPatch) -> None:
    """An arbiter that has restarted knows nothing of what is parked."""

    def restored(*known: Any, parked: object, **more: Any) -> State:
        return original(*known, parked={}, **more)

    original = state_module.restored
    patch.setattr(world, "restored", restored)


def keep_to_what_is_configured(patch: pytest.MonkeyPatch) -> None:
    """What was measured is never used."""
    patch.setattr(admission, "with_peaks", lambda state, request: request)


def learn_the_least(patch: pytest.MonkeyPatch) -> None:
    """One turn that needed little is taken for all of its kind to come, one that needed more is not."""

    def learn(change: Transition, lease: Lease, measured: int) -> None:
        known = change.state.peaks.get((lease.workload, lease.footprint)) if lease.workload else None
        original(change, lease, measured if known is None else min(known, measured))

    original = learning.learn
    patch.setattr(core, "learn", learn)


def overlook_programs(patch: pytest.MonkeyPatch) -> None:
    """What programs hold that are no tenants is lent."""

    def room(state: State, device_id: str, claim: Waiter) -> int:
        return original(replace(state, externals={}), device_id, claim)

    original = memory.room
    patch.setattr(plan, "room", room)


def never_ask_programs(patch: pytest.MonkeyPatch) -> None:
    """A program that is no tenant keeps what it has."""
    patch.setattr(plan, "_programs", lambda state, device, evicts, now: ())


MUTANTS = (
    overcommit,
    revive,
    believe_releases,
    forget_quarantine,
    free_lost_streams,
    keep_dead_offers,
    take_back_what_is_held,
    forget_repeats,
    wait_twice,
    no_grace,
    believe_stale_samples,
    believe_samples_of_holders_that_may_load,
    reuse_tokens,
    ignore_the_dead,
    never_ask_the_busy,
    count_the_same_memory_twice,
    park_what_others_have,
    forget_who_parks,
    keep_to_what_is_configured,
    learn_the_least,
    overlook_programs,
    never_ask_programs,
)


@pytest.mark.parametrize("mutate", MUTANTS, ids=lambda mutate: mutate.__name__)
def test_the_world_notices_a_broken_arbiter(mutate: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch)
    with pytest.raises(Violation):
        simulate_many()


def simulate_many() -> None:
    """Until something is wrong, or for longer than any known defect could hide."""
    for seed in range(60):
        simulate(seed, 10_000, core.step)
