"""Turns the steps of a job into a fraction that never falls and an ETA that learns."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

# Weight of the newest stage in the running mean of its speed.
_NEWEST: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a job: its steps, and what one step costs in any unit that all stages of the job share."""

    name: str
    steps: int
    cost: float


class StageSpeeds:
    """Seconds per unit of cost of each stage, learned from the jobs of a process."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        # Of the fastest portion.
        self._fastest: dict[str, float] = {}

    def learn(self, stage: str, cost: float, seconds: float, *, fastest: float) -> None:
        """Takes up a measurement; `fastest`: seconds per unit of cost in the fastest portion of the stage."""
        for rates, measured in ((self._seconds, seconds / cost), (self._fastest, fastest)):
            known = rates.setdefault(_kind(stage), measured)
            rates[_kind(stage)] = known + _NEWEST * (measured - known)

    def predict(self, stage: str, cost: float) -> float | None:
        """Seconds that so much of the stage will take; None while nothing is known."""
        known = self._seconds.get(_kind(stage))
        return None if known is None else known * cost

    def least(self, stage: str, cost: float) -> float:
        """Seconds that so much of the stage would take if all of it went like its fastest portions; 0 if unknown."""
        return self._fastest.get(_kind(stage), 0.0) * cost


def _kind(stage: str) -> str:
    """A long video repeats its stages for each chunk, as "chunk_7.decode": they are equally fast."""
    return stage.rpartition(".")[2]


@dataclass
class _Pace:
    """What was measured of the current stage: seconds, the cost that was done in them, the fastest portion's rate."""

    seconds: float = 0.0
    cost: float = 0.0
    portions: int = 0
    fastest: float = float("inf")

    def add(self, seconds: float, cost: float) -> None:
        """A portion of so much of the cost is done."""
        self.seconds += seconds
        self.cost += cost
        self.portions += 1
        self.fastest = min(self.fastest, seconds / cost)

    def left(self, cost: float, expected: float | None, least: float) -> float | None:
        """Seconds for the `cost` that is left of a stage that took `expected` seconds as a whole before, if it did.

        Portions need not be even: a decoder works long for its first frames and hands over the others quickly. What
        the stage took before tells the end then, unless all goes faster, or slower, than it did. `least` is what the
        fastest portions took that were seen before.
        """
        if not self.portions:
            return expected
        mean = cost * self.seconds / self.cost
        if expected is None:
            return mean
        if self.portions > 1:
            least = cost * self.fastest
        return min(max(expected - self.seconds, least), mean)


@dataclass(frozen=True, kw_only=True)
class Reached:
    """How far a job is: `fraction` of the whole, 0 to 1, and seconds to its end when they can be told."""

    stage: str
    step: int
    steps: int
    fraction: float
    eta_s: float | None


class StageProgress:
    """Follows one job through its stages. Times are seconds on any monotonic clock, handed in."""

    def __init__(self, stages: Sequence[Stage], speeds: StageSpeeds, *, floor: float = 0.0) -> None:
        """`stages` in their order; `floor` is a fraction that was told before: nothing that is told lies below it.

        Once every stage was timed, seconds take the place of the plan's costs, so that the fraction runs evenly.
        """
        timed = [speeds.predict(stage.name, stage.cost) for stage in stages]
        self._shares = {
            stage.name: stage.cost if None in timed or seconds is None else seconds
            for stage, seconds in zip(stages, timed, strict=True)
        }
        self._stages = {stage.name: stage for stage in stages}
        self._order = [stage.name for stage in stages]
        self._speeds = speeds
        self._done: defaultdict[str, int] = defaultdict(int)
        self._current = self._order[0] if self._order else ""
        self._since: float | None = None
        self._pace = _Pace()
        self._fraction = floor

    @property
    def fraction(self) -> float:
        """The share of the whole job that is done, 0 to 1."""
        return self._fraction

    def begin(self, stage: str, steps: int, at: float) -> Reached:
        """A stage begins at time `at`, with so many steps: the plan's guess is corrected."""
        self._learn()
        planned = self._stages.get(stage)
        if planned is None:
            # Between the current one and those that the plan has after it: at the end it would count them as done.
            self._order.insert(0 if self._since is None else self._order.index(self._current) + 1, stage)
            planned = Stage(name=stage, steps=steps, cost=0.0)
        elif planned.steps != steps:
            # The same work in other portions.
            self._shares[stage] *= planned.steps / steps
            planned = replace(planned, steps=steps, cost=planned.cost * planned.steps / steps)
        self._stages[stage] = planned
        position = self._order.index(stage)
        for earlier in self._order[:position]:
            self._done[earlier] = self._stages[earlier].steps
        self._current = stage
        self._since = at
        return self._reached()

    def advance(self, steps: int, at: float) -> Reached:
        """So many steps of the current stage are done at time `at`. A stage must have begun."""
        stage = self._stages[self._current]
        self._done[stage.name] = min(self._done[stage.name] + steps, stage.steps)
        if self._since is not None and stage.cost > 0 and steps > 0:
            self._pace.add(at - self._since, stage.cost * steps)
        self._since = at
        if self._done[stage.name] == stage.steps:
            self._learn()
        return self._reached()

    def _learn(self) -> None:
        """The current stage is over: what was measured of it as a whole is its speed."""
        if self._pace.portions:
            self._speeds.learn(self._current, self._pace.cost, self._pace.seconds, fastest=self._pace.fastest)
        self._pace = _Pace()

    def _reached(self) -> Reached:
        stages = [self._stages[name] for name in self._order]
        total = sum(self._shares.get(stage.name, 0.0) * stage.steps for stage in stages)
        done = sum(self._shares.get(stage.name, 0.0) * self._done[stage.name] for stage in stages)
        if total > 0:
            self._fraction = max(self._fraction, min(done / total, 1.0))
        cost_left = sum(stage.cost * (stage.steps - self._done[stage.name]) for stage in stages)
        left = [self._left(stage) for stage in stages if stage.cost > 0 and self._done[stage.name] < stage.steps]
        known = [seconds for seconds in left if seconds is not None]
        stage = self._stages[self._current]
        return Reached(
            stage=stage.name,
            step=self._done[stage.name],
            steps=stage.steps,
            fraction=self._fraction,
            eta_s=sum(known) if len(known) == len(left) else self._extrapolate(cost_left),
        )

    def _left(self, stage: Stage) -> float | None:
        """Seconds for the steps of a stage that are not done; None while nothing is known."""
        cost = stage.cost * (stage.steps - self._done[stage.name])
        if stage.name != self._current or not self._pace.portions:
            return self._speeds.predict(stage.name, cost)
        expected = self._speeds.predict(stage.name, stage.cost * stage.steps)
        return self._pace.left(cost, expected, self._speeds.least(stage.name, cost))

    def _extrapolate(self, cost: float) -> float | None:
        """An ETA while the speed of some stages is unknown: they are taken to be as fast as those that are known."""
        rates = [
            rate for name in self._order if self._done[name] and (rate := self._speeds.predict(name, 1.0)) is not None
        ]
        if self._pace.portions:
            rates.append(self._pace.seconds / self._pace.cost)
        if not rates:
            return None
        return cost * sum(rates) / len(rates)
