"""The simulated world notices every planted defect, and every numbered rule has one."""

from __future__ import annotations

import re

import pytest
from milimo_arbiter import core
from milimo_arbiter.simulation import simulate
from milimo_arbiter.simulation.shrink import attempt

from .mutants.table import KNOWN_MISTAKES, MUTANTS, Mutant

# In its world each shows within so many steps.
LONGEST = 10_000


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.rule} {mutant.mutate.__name__}")
def test_the_world_notices_a_broken_rule(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.mutate(monkeypatch)
    failure = attempt(mutant.seed, LONGEST, step=core.step)
    assert failure is not None, "no law noticed it"
    assert failure.law == mutant.law


@pytest.mark.parametrize("seed", sorted({mutant.seed for mutant in MUTANTS}))
def test_without_a_defect_the_same_worlds_hold_all_laws(seed: int) -> None:
    assert simulate(seed, 1_000).steps == 1_000


def test_every_numbered_rule_has_a_defect() -> None:
    """A heading whose parts have numbers of their own needs none."""
    rules = re.findall(r"^ +(\d+(?:\.\d+)?) +\S", core.__doc__ or "", re.MULTILINE)
    assert {"0.1", "2.10", "5", "6", "8"} <= set(rules)
    parts = {rule for rule in rules if "." not in rule and f"{rule}.1" in rules and rule != "5"}
    assert set(rules) - parts == {mutant.rule for mutant in MUTANTS}


def test_every_mistake_that_is_known_from_others_has_a_defect() -> None:
    assert set(KNOWN_MISTAKES.values()) <= {mutant.mutate for mutant in MUTANTS}
