"""The simulated world's numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from milimo_arbiter.state import Policy

POLICY: Final = Policy(
    ttl_s=12.0,
    grace_s=15.0,
    queue_bound=6,
    ageing_s=20.0,
    batch_turns=2,
    batch_s=10.0,
    idle_deadline_s=4.0,
    busy_deadline_s=20.0,
    context_bytes=0,
)
BUDGET: Final = 100
PARKING_BUDGET: Final = 80
HOLDERS: Final = 5
# Longest stop of a process and longest absence of the arbiter, in seconds.
LONGEST_PAUSE_S: Final = 40.0
LONGEST_ABSENCE_S: Final = 20.0
# Everybody ahead may hold until its batch, its deadline and its stop are over.
LONGEST_WAIT_S: Final = (
    HOLDERS * (POLICY.batch_s + POLICY.busy_deadline_s + POLICY.idle_deadline_s + POLICY.ttl_s + LONGEST_PAUSE_S)
    + 2 * POLICY.ageing_s
    + LONGEST_ABSENCE_S
    + POLICY.grace_s
)


def policy_of(seed: int) -> Policy:
    """The policy of a world: in some late holders are killed, in some the queue is short."""
    policy = POLICY
    if seed % 5 < 2:
        policy = replace(policy, kill_after_s=0.5)
    if seed % 5 == 2:
        policy = replace(policy, queue_bound=2)
    return policy
