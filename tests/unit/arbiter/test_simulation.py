"""The simulator as a tool: it repeats its worlds, and shrinks what breaks a law to what it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from milimo_arbiter.simulation import simulate
from milimo_arbiter.simulation.__main__ import main, schedule
from milimo_arbiter.simulation.shrink import attempt, shrunk

from .mutants.serving import overcommit, reuse_tokens

if TYPE_CHECKING:
    from .mutants.table import Mutation


def test_a_seed_repeats_its_world() -> None:
    assert simulate(3, 2_000) == simulate(3, 2_000)


@pytest.mark.parametrize(("mutate", "law", "seed"), [(overcommit, "granted bytes", 2), (reuse_tokens, "fencing", 1)])
def test_a_schedule_that_breaks_a_law_is_shrunk_to_what_it_takes(
    mutate: Mutation, law: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    failure = attempt(seed, 5_000)
    assert failure is not None
    assert failure.law == law
    least = shrunk(failure)
    assert least.law == law
    assert least.steps <= failure.steps
    assert len(least.troubles) < min(4, len(failure.troubles))
    assert attempt(seed, least.steps, keep=least.troubles) == least
    for trouble in least.troubles:
        other = attempt(seed, least.steps, keep=set(least.troubles) - {trouble})
        assert other is None or other.law != law, "none of what is left can be left out"
    assert any("granted" in line for line in schedule(least))


def test_the_command_says_what_it_has_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "7", "--steps", "300"]) == 0
    assert capsys.readouterr().out == "300 steps in 1 worlds, seeds 7 to 7: every law held\n"


@pytest.mark.parametrize(
    ("option", "value", "needed"),
    [
        ("--steps", "0", "a whole number from 1 to 1000000000"),
        ("--steps", "-1", "a whole number from 1 to 1000000000"),
        ("--steps", "1e6", "a whole number from 1 to 1000000000"),
        ("--steps", "1000000001", "a whole number from 1 to 1000000000"),
        ("--seed", "-1", "a whole number, 0 or more"),
        ("--seed", "x", "a whole number, 0 or more"),
    ],
)
def test_the_command_says_which_numbers_it_takes(
    option: str, value: str, needed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([option, value])
    assert stopped.value.code == 2
    assert f"argument {option}: {needed} is needed, not '{value}'" in capsys.readouterr().err


def test_the_command_tells_what_broke_a_law_and_how_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("milimo_arbiter.simulation.__main__.ProcessPoolExecutor", ThreadPoolExecutor)
    overcommit(monkeypatch)
    assert main(["--seed", "2", "--steps", "5000"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == [
        "broken after 8 steps: granted bytes: 144 of 100 on a:0",
        "It takes holder 1, 4.",
        "The same again: make simulate SEED=2 STEPS=8",
    ]
    assert any("granted t1, 99 on a:0" in line for line in lines)


def test_many_troubles_are_told_by_kind_and_wrapped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    troubles = tuple(Trouble(kind=kind, number=number) for number in range(20) for kind in ("late message", "death"))
    failure = Failure(seed=2, law="a law", text="a text", steps=30, troubles=troubles)
    monkeypatch.setattr("milimo_arbiter.simulation.__main__.shrunk", lambda failure: failure)
    monkeypatch.setattr("milimo_arbiter.simulation.__main__.attempt", lambda seed, steps, **more: failure)
    assert tell(failure) == 1
    told = capsys.readouterr().out
    assert "It takes death 0, 1, 2, 3, 4, 5, 6, 7 and 12 more; late message 0, 1, 2, 3, 4, 5, 6, 7 and 12" in told
    assert max(map(len, told.splitlines())) <= 100
