"""Noise schedules of LTX-2, as the official code has them.

Both are given without the final 0, which the scheduler appends. They are final values: the scheduler that gets them
must shift nothing (`use_dynamic_shifting=False, shift_terminal=None`), since diffusers would otherwise derive a shift
from the number of tokens, which the official code does not.
"""

from __future__ import annotations

import math

# ltx_pipelines.utils.constants.DISTILLED_SIGMA_VALUES and STAGE_2_DISTILLED_SIGMA_VALUES.
DISTILLED: tuple[float, ...] = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875)
DISTILLED_STAGE_2: tuple[float, ...] = (0.909375, 0.725, 0.421875)
# Of the frames that the temporal upsampler puts between others. LTX-2.0 has no recipe for that: this is the end of the
# schedule of stage 2, whose first step would make nearly all anew that stage 2 has refined already.
TEMPORAL_REFINEMENT: tuple[float, ...] = DISTILLED_STAGE_2[1:]

# ltx_core.components.schedulers.LTX2Scheduler: the shift for 4096 tokens, whatever the video's size.
_SHIFT = 2.05
_TERMINAL = 0.1


def undistilled(steps: int) -> tuple[float, ...]:
    """The schedule of the undistilled checkpoint for `steps` ≥ 2 steps: falling from 1.0 to 0.1.

    Linear values are shifted, σ' = e^μ / (e^μ + 1/σ − 1) with μ = 2.05, and stretched so that the last is 0.1.
    Raises `ValueError` for fewer steps: a single value cannot be stretched.
    """
    if steps < 2:
        raise ValueError(f"the undistilled schedule needs at least 2 steps, not {steps}")
    factor = math.exp(_SHIFT)
    shifted = [factor / (factor + (steps / (steps - i) - 1.0)) for i in range(steps)]
    stretch = (1.0 - shifted[-1]) / (1.0 - _TERMINAL)
    return tuple(1.0 - (1.0 - sigma) / stretch for sigma in shifted)
