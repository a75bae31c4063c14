"""What was measured of each figure, and its form in JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from figures import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIGITS: Final = 4


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Something else, measured in the same run on the same machine, in the same unit."""

    what: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A figure that was taken: its value, and the lowest and highest of its runs."""

    value: float
    unit: str
    runs: int
    min: float
    max: float
    beside: Beside | None = None


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A figure that could not be taken."""

    why: str


Row: TypeAlias = Measured | Missing


def measured(
    name: str, samples: Sequence[float], *, value: float | None = None, beside: Beside | None = None
) -> Measured:
    """The row of a figure from its runs; `value` is their median unless given.

    Raises:
        ValueError: without a sample, or when one is no number.
    """
    if not samples or not all(map(math.isfinite, samples)):
        raise ValueError(f"{name}: no figure can be taken from {list(samples)}")
    return Measured(
        value=median(samples) if value is None else value,
        unit=BY_NAME[name].unit,
        runs=len(samples),
        min=min(samples),
        max=max(samples),
        beside=beside,
    )


def percentile(samples: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the samples do not exceed: the nearest rank. Raises ValueError without any."""
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _rounded(value: float) -> float:
    """To as many digits as such a measurement has at best."""
    return float(f"{value:.{_DIGITS}g}")


def row_json(row: Row) -> dict[str, Any]:
    """The row as bench.json has it."""
    if isinstance(row, Missing):
        return {"why": row.why}
    document: dict[str, Any] = {
        "value": _rounded(row.value),
        "unit": row.unit,
        "runs": row.runs,
        "min": _rounded(row.min),
        "max": _rounded(row.max),
    }
    if row.beside is not None:
        document["beside"] = {"what": row.beside.what, "value": _rounded(row.beside.value)}
    return document


def row_from_json(document: dict[str, Any]) -> Row:
    """The inverse of `row_json`. Raises KeyError when something is missing."""
    if "why" in document:
        return Missing(why=document["why"])
    beside = document.get("beside")
    return Measured(
        value=document["value"],
        unit=document["unit"],
        runs=document["runs"],
        min=document["min"],
        max=document["max"],
        beside=None if beside is None else Beside(what=beside["what"], value=beside["value"]),
    )
