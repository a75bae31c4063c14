"""Many random worlds, half of them in each of two files, so that two processes share them."""

from __future__ import annotations

from milimo_arbiter.simulation import LONGEST_WAIT_S, simulate

# Short worlds for variety, long ones for what needs time to go wrong: 500,000 steps together.
_SHORT = (60, 5_000)
_LONG = (10, 20_000)


def check_half(first_seed: int) -> None:
    """Half a million steps hold all laws, and get into every kind of trouble."""
    worlds = [(first_seed + 1_000 * steps + seed, steps) for worlds, steps in (_SHORT, _LONG) for seed in range(worlds)]
    reports = [simulate(seed, steps) for seed, steps in worlds]
    assert sum(report.steps for report in reports) == 500_000
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
        "killed",
        "freed",
        "taken_back",
        "parked",
        "not_parked",
        "evict_requested",
    }, "a schedule that never gets into trouble proves nothing"
    assert sum(report.grants for report in reports) > 5_000
    assert sum(report.restarts for report in reports) > 100
    assert max(report.longest_wait_s for report in reports) < LONGEST_WAIT_S
