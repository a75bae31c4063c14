"""What running work tells of itself, and how it learns that it should stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.Image import Image


class JobCancelled(Exception):
    """The job was cancelled: unwind at once, do not decode, do not save."""


def unwatched() -> None:
    """A check for work that nobody can stop."""


class Observer(Protocol):
    """The listener that an engine reports to, from the thread that computes.

    Every method returns within a millisecond, and raises `JobCancelled` when the job's cancellation was asked: the work
    lets it pass through, so that it ends within one step.
    """

    def begin(self, stage: str, steps: int) -> None:
        """A stage begins. `stage` is one of the names that the job's plan declared; `steps` ≥ 1."""

    def advance(self, steps: int = 1) -> None:
        """That many steps of the current stage are done."""

    def preview(self, render: Callable[[], Image]) -> None:
        """Offers a small preview of the result so far. `render` is called only when somebody would see it."""

    def notice(self, code: str, text: str) -> None:
        """Something that the user should know, such as an option that had no effect. `code` is UPPER_SNAKE_CASE."""


class Silent:
    """An observer for work that nobody watches."""

    def begin(self, stage: str, steps: int) -> None:
        """Nothing is told."""

    def advance(self, steps: int = 1) -> None:
        """Nothing is told."""

    def preview(self, render: Callable[[], Image]) -> None:
        """Nothing is rendered."""

    def notice(self, code: str, text: str) -> None:
        """Nothing is told."""
