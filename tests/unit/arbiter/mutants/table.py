"""Each numbered rule of `milimo_arbiter.core`, the ways in which it is broken, and how that shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import asking, ending, holding, lapsing, measuring, serving

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    Mutation = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A defect of a rule; the law by which the world of that seed notices it."""

    rule: str
    mutate: Mutation
    law: str
    seed: int = 0


MUTANTS = (
    Mutant(rule="0.1", mutate=lapsing.no_grace, law="grace", seed=23),
    Mutant(rule="0.1", mutate=lapsing.endless_grace, law="grace", seed=14),
    Mutant(rule="0.2", mutate=lapsing.never_expire, law="expiry", seed=10),
    Mutant(rule="0.2", mutate=lapsing.keep_unanswered_offers, law="offers", seed=10),
    Mutant(rule="0.2", mutate=lapsing.forget_quarantine, law="operators", seed=4),
    Mutant(rule="0.3", mutate=lapsing.overlook_deadlines, law="deadlines", seed=8),
    Mutant(rule="0.3", mutate=lapsing.punish_for_nothing, law="deadlines", seed=8),
    Mutant(rule="0.4", mutate=lapsing.kill_nobody, law="kills", seed=1),
    Mutant(rule="0.4", mutate=lapsing.kill_who_was_revoked, law="kills", seed=4),
    Mutant(rule="0.4", mutate=lapsing.kill_who_has_released, law="kills", seed=1),
    Mutant(rule="0.4", mutate=lapsing.forget_to_kill, law="record", seed=1),
    Mutant(rule="1.1", mutate=asking.let_streams_ask_twice, law="streams", seed=2),
    Mutant(rule="1.2", mutate=asking.queue_what_never_fits, law="refusals", seed=2),
    Mutant(rule="1.2", mutate=asking.queue_what_is_for_another_host, law="refusals", seed=1),
    Mutant(rule="1.2", mutate=asking.refuse_for_one_grade, law="refusals", seed=0),
    Mutant(rule="1.3", mutate=asking.queue_without_end, law="refusals", seed=2),
    Mutant(rule="1.4", mutate=asking.lose_requests, law="answers", seed=0),
    Mutant(rule="1.5", mutate=asking.say_nothing_to_the_lost, law="refusals", seed=2),
    Mutant(rule="1.6", mutate=asking.believe_any_token, law="refusals", seed=18),
    Mutant(rule="1.6", mutate=asking.share_the_tokens_of_those_who_wait, law="refusals", seed=11),
    Mutant(rule="1.7", mutate=asking.revive_by_resuming, law="resuming", seed=14),
    Mutant(rule="1.8", mutate=asking.leave_older_streams_open, law="resuming", seed=18),
    Mutant(rule="1.8", mutate=asking.forget_wishes, law="resuming", seed=14),
    Mutant(rule="1.9", mutate=asking.forget_repeats, law="resuming", seed=5),
    Mutant(rule="1.10", mutate=asking.wait_twice, law="repeats", seed=3),
    Mutant(rule="1.10", mutate=asking.lose_its_place, law="repeats", seed=3),
    Mutant(rule="1.11", mutate=asking.admit_beside_the_unknown, law="refusals", seed=16),
    Mutant(rule="1.11", mutate=asking.take_unknown_for_nothing, law="strangers' bytes", seed=16),
    Mutant(rule="2.1", mutate=holding.say_nothing_to_strangers, law="answers", seed=18),
    Mutant(rule="2.1", mutate=holding.keep_who_withdraws, law="releases", seed=4),
    Mutant(rule="2.2", mutate=holding.revive, law="lost leases", seed=22),
    Mutant(rule="2.3", mutate=holding.forget_use_by_silence, law="renewals", seed=0),
    Mutant(rule="2.3", mutate=holding.confirm_nothing, law="renewals", seed=0),
    Mutant(rule="2.4", mutate=holding.shrink_to_nothing, law="shrinking", seed=14),
    Mutant(rule="2.4", mutate=holding.ask_again_for_what_came, law="shrinking", seed=0),
    Mutant(rule="2.5", mutate=holding.give_the_idle_a_busy_deadline, law="deadlines", seed=8),
    Mutant(rule="2.6", mutate=holding.count_no_turns, law="batches", seed=0),
    Mutant(rule="2.6", mutate=holding.buy_time_with_turns, law="deadlines", seed=10),
    Mutant(rule="2.7", mutate=holding.believe_releases, law="releases", seed=0),
    Mutant(rule="2.7", mutate=holding.lend_released_memory, law="loaded bytes", seed=11),
    Mutant(rule="2.8", mutate=holding.park_what_others_have, law="parked bytes", seed=0),
    Mutant(rule="2.8", mutate=holding.forget_who_parks, law="record", seed=14),
    Mutant(rule="2.9", mutate=holding.keep_to_what_is_configured, law="learning", seed=12),
    Mutant(rule="2.9", mutate=holding.learn_the_least, law="learning", seed=0),
    Mutant(rule="2.10", mutate=holding.learn_no_lengths, law="lengths", seed=0),
    Mutant(rule="3.1", mutate=ending.keep_waiters_that_have_gone, law="streams", seed=2),
    Mutant(rule="3.2", mutate=ending.keep_dead_offers, law="lost streams", seed=2),
    Mutant(rule="3.3", mutate=ending.take_back_what_is_held, law="held bytes", seed=8),
    Mutant(rule="3.3", mutate=ending.free_lost_streams, law="lost streams", seed=3),
    Mutant(rule="3.4", mutate=ending.ignore_the_dead, law="the dead", seed=3),
    Mutant(rule="4.1", mutate=ending.ignore_operators, law="operators", seed=4),
    Mutant(rule="4.1", mutate=ending.free_by_word_of_mouth, law="operators", seed=11),
    Mutant(rule="4.2", mutate=ending.reclaim_nothing, law="operators", seed=19),
    Mutant(rule="4.2", mutate=ending.reclaim_from_the_busy, law="operators", seed=18),
    Mutant(rule="5", mutate=measuring.believe_stale_samples, law="measurements", seed=19),
    Mutant(rule="5", mutate=measuring.believe_samples_of_holders_that_may_load, law="measurements", seed=19),
    Mutant(rule="5", mutate=measuring.believe_no_samples, law="measurements", seed=1),
    Mutant(rule="5", mutate=measuring.go_back_in_time, law="measurements", seed=3),
    Mutant(rule="5.1", mutate=measuring.overlook_programs, law="strangers' bytes", seed=1),
    Mutant(rule="5.1", mutate=measuring.never_ask_programs, law="starvation", seed=16),
    Mutant(rule="5.1", mutate=measuring.ask_programs_for_ever, law="strangers' bytes", seed=1),
    Mutant(rule="6", mutate=serving.grant_in_the_grace_window, law="grace", seed=2),
    Mutant(rule="7", mutate=serving.overcommit, law="granted bytes", seed=0),
    Mutant(rule="7", mutate=serving.count_the_same_memory_twice, law="idle memory", seed=0),
    Mutant(rule="7", mutate=serving.count_its_own_memory_against_it, law="idle memory", seed=15),
    Mutant(rule="7", mutate=serving.reuse_tokens, law="fencing", seed=2),
    Mutant(rule="7", mutate=serving.never_ask_the_busy, law="batches", seed=0),
    Mutant(rule="8", mutate=serving.tell_nobody, law="telling", seed=0),
    Mutant(rule="8", mutate=serving.tell_without_end, law="telling", seed=1),
    Mutant(rule="8", mutate=serving.serve_by_class_alone, law="telling", seed=6),
)

# Mistakes that are known from other systems, and the defect that stands for each.
KNOWN_MISTAKES: dict[str, Mutation] = {
    "two claims passing on one stale snapshot": serving.overcommit,
    "counting the same memory twice": serving.count_the_same_memory_twice,
    "a heartbeat without a sample re-opening admission": holding.forget_use_by_silence,
    "a renewal that revives an expired lease": holding.revive,
    "a dead worker whose task still runs": lapsing.forget_quarantine,
    "unknown memory read as 0": asking.take_unknown_for_nothing,
    "unknown memory read as infinite": asking.admit_beside_the_unknown,
    "a holder's own memory counted against its re-claim": serving.count_its_own_memory_against_it,
    "a grant delivered to a waiter that has gone": ending.keep_dead_offers,
}
