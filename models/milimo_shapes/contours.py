"""Tells shapes by their contour: the distance from the centre of area as a function of the angle."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from milimo_shapes.outlines import Shape, signed_distance

if TYPE_CHECKING:
    from milimo_shapes.arrays import Floats

_ANGLES: Final = 120
_STEPS: Final = 64
# Beats per turn that are compared. Higher ones are lost at a radius of ten pixels.
_BEATS: Final = np.array([2, 3, 4, 5, 6, 8, 10])
# Side of the picture on which the shapes' own profiles are taken.
_MODEL_SIDE: Final = 200


def polar_profile(cover: Floats, x: float, y: float, *, reach: float) -> Floats:
    """Distance [angles] from (x, y) to the contour of `cover` [H, W] (0 to 1), in pixels, out to `reach`.

    It is what the covered area in each narrow sector says, sqrt(2 · ∫ cover · r dr), so that no threshold is needed.
    """
    angles = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
    distances = (np.arange(_STEPS) + 0.5) * (reach / _STEPS)
    values = _bilinear(
        cover,
        x + np.cos(angles)[:, None] * distances[None] - 0.5,
        y + np.sin(angles)[:, None] * distances[None] - 0.5,
    )
    profile: Floats = np.sqrt(2.0 * (values * distances).sum(axis=1) * (reach / _STEPS))
    return profile


def classify_contour(profile: Floats) -> tuple[Shape, float]:
    """The shape whose rhythm is nearest, however it is turned, and how far it is ahead of the second, 0 to 1."""
    own = _rhythm(profile)
    distances = {shape: float(np.linalg.norm(own - model)) for shape, model in _models().items()}
    first, second = sorted(distances, key=distances.__getitem__)[:2]
    return first, 1.0 - distances[first] / max(distances[second], 1e-9)


def _rhythm(profile: Floats) -> Floats:
    """Strength of each beat, relative to the mean distance."""
    spectrum = np.abs(np.fft.rfft(profile)) / len(profile)
    rhythm: Floats = 2.0 * spectrum[_BEATS] / max(spectrum[0], 1e-9)
    return rhythm


@cache
def _models() -> dict[Shape, Floats]:
    """The rhythms of the shapes themselves, slightly blurred as a softened picture of them is."""
    place = np.arange(_MODEL_SIDE) + 0.5 - _MODEL_SIDE / 2
    x, y = place[None, :], place[:, None]
    radius = np.array(_MODEL_SIDE / 4.5)
    models = {}
    for shape in Shape:
        cover = np.clip(0.5 - signed_distance(shape, x, y, radius) / 4.0, 0.0, 1.0)
        total = cover.sum()
        centre_x = float((cover * (x + _MODEL_SIDE / 2)).sum() / total)
        centre_y = float((cover * (y + _MODEL_SIDE / 2)).sum() / total)
        reach = 1.9 * float(np.sqrt(total / np.pi))
        models[shape] = _rhythm(polar_profile(cover, centre_x, centre_y, reach=reach))
    return models


def _bilinear(values: Floats, x: Floats, y: Floats) -> Floats:
    """Values [H, W] between pixels; outside they are 0."""
    height, width = values.shape
    padded = np.pad(values, 1)
    column = np.clip(x + 1, 0, width + 0.999)
    row = np.clip(y + 1, 0, height + 0.999)
    left, top = column.astype(np.intp), row.astype(np.intp)
    across, down = column - left, row - top
    upper = padded[top, left] * (1 - across) + padded[top, left + 1] * across
    lower = padded[top + 1, left] * (1 - across) + padded[top + 1, left + 1] * across
    between: Floats = upper * (1 - down) + lower * down
    return between
