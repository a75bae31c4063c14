"""What a second click on an image costs, with a backbone that costs something."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final

from rows import Beside, Row, measured
from session import Child

if TYPE_CHECKING:
    from collections.abc import Mapping

    from session import Session

NAMES: Final = ("second_click_ratio",)


def measure(session: Session) -> Mapping[str, Row]:
    """In a process of its own, which imports torch."""
    rounds = min(2, session.runs)
    with Child("child_clicks.py", str(session.models / "tiny" / "sam-3"), environment=session.environment) as child:
        child.ask({"seed": 0})
        answers = [child.ask({"seed": number + 1}) for number in range(rounds)]
    ratios = [answer["second"] / answer["first"] for answer in answers]
    first, second = (median(answer[name] for answer in answers) for name in ("first", "second"))
    beside = Beside(what=f"the first click itself ({first:.2f} s; the second {second:.3f} s)", value=1.0)
    return {NAMES[0]: measured(NAMES[0], ratios, beside=beside)}
