"""The benchmark's measures of seams and drift, on videos whose seams are known."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "bench"))

from seam import drift, flow, seam_ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

BORDERS = (20, 40)


def drifting(shifts: NDArray[np.float64], light: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Waves that have moved by so many pixels, and are so much lighter, in each frame."""
    down, right = np.mgrid[:48, :64]
    frames = []
    for shift, more in zip(shifts, light, strict=True):
        wave = np.sin((right - shift) / 5) + np.sin((down + right - shift) / 7)
        frames.append(np.stack([128 + 40 * wave + more, 120 + 30 * wave + more, 110 + 20 * wave], axis=-1))
    return np.clip(np.stack(frames), 0, 255).round().astype(np.uint8)


def steady(frames: int = 60) -> NDArray[np.float64]:
    # Never quite even, as nothing that is filmed is.
    return np.cumsum(0.8 + 0.1 * np.sin(np.arange(frames)))


def test_flow_is_the_displacement() -> None:
    frames = drifting(np.array([0.0, 0.8]), np.zeros(2))
    found = flow(frames[0], frames[1])
    assert found.shape == (6, 8, 2)
    assert np.median(found[..., 0]) == pytest.approx(0.8, abs=0.2)
    assert abs(np.median(found[..., 1])) < 0.25


def test_a_video_without_seams_has_none() -> None:
    frames = drifting(steady(), np.sin(np.arange(60)))
    assert seam_ratio(frames, BORDERS) == pytest.approx(1.0, abs=0.4)
    assert drift(frames, BORDERS) < 1.0


@pytest.mark.parametrize("kind", ["jump", "stop", "flash"])
def test_a_seam_is_seen(kind: str) -> None:
    shifts, light = steady(), np.sin(np.arange(60.0))
    for border in BORDERS:
        if kind == "jump":
            shifts[border:] += 3
        elif kind == "stop":
            shifts[border:] -= shifts[border] - shifts[border - 1]
        else:
            light[border:] += 12
    assert seam_ratio(drifting(shifts, light), BORDERS) > 1.8


def test_drift_grows_with_the_difference() -> None:
    def of(per_chunk: float) -> float:
        light = np.sin(np.arange(60.0)) + np.repeat([0.0, 1.0, 2.0], 20) * per_chunk
        return drift(drifting(steady(), light), BORDERS)

    assert of(0.0) < 1.0 < of(2.0) < of(8.0)
