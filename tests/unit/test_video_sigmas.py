from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from milimo_video import sigmas


def test_stage_2_is_the_tail_of_the_distilled_schedule() -> None:
    assert sigmas.DISTILLED == (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875)
    assert sigmas.DISTILLED[-3:] == sigmas.DISTILLED_STAGE_2


@given(steps=st.integers(2, 100))
def test_undistilled_schedule_falls_from_1_to_its_terminal(steps: int) -> None:
    schedule = sigmas.undistilled(steps)
    assert len(schedule) == steps
    assert schedule[0] == 1.0
    assert schedule[-1] == pytest.approx(0.1, abs=1e-12)
    assert all(before > after for before, after in pairwise(schedule))


def test_undistilled_schedule_is_shifted_by_4096_tokens() -> None:
    schedule = sigmas.undistilled(40)
    # Stretching is affine, so ratios of distances are those of the shifted values e^mu / (e^mu + 1 / t - 1).
    shifted = [1 / (1 + math.exp(-2.05) * (1 / t - 1)) for t in (1 - i / 40 for i in range(40))]
    for i in range(1, 39):
        assert (1 - schedule[i]) / (1 - schedule[39]) == pytest.approx((1 - shifted[i]) / (1 - shifted[39]))


def test_a_single_step_cannot_be_stretched() -> None:
    with pytest.raises(ValueError, match="at least 2 steps"):
        sigmas.undistilled(1)
