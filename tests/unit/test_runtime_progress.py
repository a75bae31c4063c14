"""Fractions and ETAs of a job."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from milimo_runtime.progress import Reached, Stage, StageProgress, StageSpeeds

names = st.sampled_from(["encode", "stage_1", "stage_2", "decode", "encode_file"])
costs = st.floats(min_value=0.01, max_value=1000, allow_nan=False)
stages = st.lists(
    st.builds(Stage, name=names, steps=st.integers(1, 12), cost=costs), unique_by=lambda stage: stage.name
)
seconds = st.floats(min_value=0.001, max_value=100)


@st.composite
def jobs(draw: st.DrawFn) -> tuple[list[Stage], list[tuple[str, int, list[float]]], float]:
    """Planned stages, what was really done of each (perhaps other steps), and what was told before."""
    planned = draw(stages.filter(bool))
    done = []
    for stage in planned:
        steps = draw(st.one_of(st.just(stage.steps), st.integers(1, 12)))
        done.append((stage.name, steps, draw(st.lists(seconds, min_size=steps, max_size=steps))))
    return planned, done, draw(st.floats(0, 1))


def run(progress: StageProgress, done: list[tuple[str, int, list[float]]]) -> list[Reached]:
    clock = 0.0
    told = []
    for name, steps, durations in done:
        told.append(progress.begin(name, steps, clock))
        for duration in durations:
            clock += duration
            told.append(progress.advance(1, clock))
    return told


@given(jobs())
def test_the_fraction_never_falls_and_reaches_one(
    job: tuple[list[Stage], list[tuple[str, int, list[float]]], float],
) -> None:
    planned, done, floor = job
    told = run(StageProgress(planned, StageSpeeds(), floor=floor), done)
    fractions = [reached.fraction for reached in told]
    assert all(earlier <= later for earlier, later in itertools.pairwise([floor, *fractions]))
    assert fractions[-1] == pytest.approx(1.0)
    assert all(0 <= reached.step <= reached.steps for reached in told)


@given(jobs())
def test_an_eta_is_never_negative_and_ends_at_zero(
    job: tuple[list[Stage], list[tuple[str, int, list[float]]], float],
) -> None:
    planned, done, _ = job
    told = run(StageProgress(planned, StageSpeeds()), done)
    assert all(reached.eta_s is None or reached.eta_s >= 0 for reached in told)
    assert told[0].eta_s is None
    assert told[-1].eta_s == pytest.approx(0.0, abs=1e-6)


def test_a_second_job_knows_how_long_it_takes_from_the_start() -> None:
    speeds = StageSpeeds()
    planned = [Stage(name="denoise", steps=4, cost=2.0), Stage(name="decode", steps=1, cost=3.0)]
    done = [("denoise", 4, [2.0] * 4), ("decode", 1, [12.0])]
    run(StageProgress(planned, speeds), done)
    told = run(StageProgress(planned, speeds), done)
    assert told[0].eta_s == pytest.approx(20.0)
    # In seconds now, not in the plan's costs: 4 × 2 s of 20 s.
    assert [round(reached.fraction, 3) for reached in told] == [0, 0.1, 0.2, 0.3, 0.4, 0.4, 1.0]
    assert [reached.eta_s for reached in told] == pytest.approx([20, 18, 16, 14, 12, 12, 0])


def test_the_speed_of_unknown_stages_is_guessed_from_known_ones() -> None:
    progress = StageProgress(
        [Stage(name="denoise", steps=2, cost=1.0), Stage(name="decode", steps=1, cost=4.0)], StageSpeeds()
    )
    progress.begin("denoise", 2, 0.0)
    assert progress.advance(1, 3.0).eta_s == pytest.approx(3.0 + 4 * 3.0)


def test_speeds_follow_what_is_measured() -> None:
    speeds = StageSpeeds()
    assert speeds.predict("decode", 1.0) is None
    speeds.learn("decode", 2.0, 8.0, fastest=3.0)
    assert speeds.predict("decode", 1.0) == pytest.approx(4.0)
    for _ in range(50):
        speeds.learn("decode", 1.0, 1.0, fastest=1.0)
    assert speeds.predict("decode", 10.0) == pytest.approx(10.0, rel=1e-3)


def test_a_stage_that_was_not_planned_is_shown_and_moves_nothing() -> None:
    progress = StageProgress([Stage(name="denoise", steps=1, cost=1.0)], StageSpeeds())
    reached = progress.begin("surprise", 3, 0.0)
    assert (reached.stage, reached.steps, reached.fraction) == ("surprise", 3, 0.0)
    assert progress.advance(1, 1.0).fraction == 0.0


def test_a_job_of_no_stages_shows_those_that_come() -> None:
    progress = StageProgress([], StageSpeeds())
    assert progress.begin("anything", 2, 0.0).steps == 2
    assert progress.advance(2, 1.0).step == 2


def test_skipped_stages_count_as_done() -> None:
    progress = StageProgress(
        [Stage(name=name, steps=2, cost=1.0) for name in ("one", "two", "three")], StageSpeeds(), floor=0.1
    )
    assert progress.begin("three", 2, 0.0).fraction == pytest.approx(4 / 6)


def test_chunks_learn_from_each_other() -> None:
    """A long video repeats its stages for each chunk: after the first it is known how long the others take."""
    planned = [
        Stage(name=f"chunk_{chunk}.{name}", steps=2, cost=cost)
        for chunk in (1, 2, 3)
        for name, cost in (("stage_1", 1.0), ("decode", 10.0))
    ]
    progress = StageProgress(planned, StageSpeeds())
    told = run(progress, [("chunk_1.stage_1", 2, [4.0, 4.0]), ("chunk_1.decode", 2, [1.0, 1.0])])
    assert told[-1].fraction == pytest.approx(1 / 3)
    assert told[-1].eta_s == pytest.approx(2 * (8.0 + 2.0))


def test_portions_of_a_stage_may_be_uneven() -> None:
    """A decoder works long for its first frames: what the stage took before tells what is left, not its first step."""
    speeds = StageSpeeds()
    planned = [Stage(name="decode", steps=10, cost=1.0)]
    lump = [("decode", 10, [9.1] + [0.1] * 9)]
    run(StageProgress(planned, speeds), lump)
    told = run(StageProgress(planned, speeds), lump)
    assert [reached.eta_s for reached in told] == pytest.approx([10.0, *[0.9 - 0.1 * i for i in range(10)]], abs=1e-6)


def test_a_first_portion_that_takes_long_leaves_time_for_the_others() -> None:
    speeds = StageSpeeds()
    planned = [Stage(name="decode", steps=10, cost=1.0)]
    run(StageProgress(planned, speeds), [("decode", 10, [9.1] + [0.1] * 9)])
    told = run(StageProgress(planned, speeds), [("decode", 10, [11.0] + [0.1] * 9)])
    assert [reached.eta_s for reached in told[1:]] == pytest.approx([0.9 - 0.1 * i for i in range(10)], abs=1e-6)


@pytest.mark.parametrize("pace", [0.5, 1.5])
def test_a_stage_that_is_faster_or_slower_than_before_is_noticed(pace: float) -> None:
    speeds = StageSpeeds()
    planned = [Stage(name="denoise", steps=8, cost=1.0)]
    run(StageProgress(planned, speeds), [("denoise", 8, [1.0] * 8)])
    told = run(StageProgress(planned, speeds), [("denoise", 8, [pace] * 8)])
    assert [reached.eta_s for reached in told[3:]] == pytest.approx([pace * left for left in (5, 4, 3, 2, 1, 0)])
