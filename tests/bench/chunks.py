"""Videos of many chunks: the last costs what the first did, and how much their borders can be seen."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final

from rows import Row, measured
from session import Child, Session

if TYPE_CHECKING:
    from collections.abc import Mapping

_HANDOFFS: Final = ("latent", "reencode")
NAMES: Final = (
    "chunk_time_ratio",
    "chunk_memory_ratio",
    *(f"{what}_{handoff}" for what in ("seam_ratio", "drift") for handoff in _HANDOFFS),
)
_CHUNKS: Final = 100
# A single chunk of the tiny model takes half a second: a tenth of them at both ends.
_BESIDE: Final = 10


def measure(session: Session) -> Mapping[str, Row]:
    """Two chunks first, whose peak the hundred are held against; the median of ten chunks at both ends.

    Then videos of six chunks for seams and drift, as `seam` defines them. With the tiny checkpoint, whose pictures
    hardly move by themselves, they show that the measure is taken; which hand-off is better only trained weights can
    tell.
    """
    folder = session.scratch("chunks")
    checkpoint = str(session.models / "tiny" / "ltx-2")
    with Child("child_chain.py", checkpoint, str(folder), environment=session.environment) as child:
        few, many = child.ask(2), child.ask(_CHUNKS)
    # The first chunk starts from nothing, the second is the first that goes on from another.
    first, last = median(many["seconds"][1 : 1 + _BESIDE]), median(many["seconds"][-_BESIDE:])
    with Child("child_seams.py", checkpoint, str(folder), environment=session.environment) as child:
        seen = {
            handoff: [child.ask({"handoff": handoff, "seed": seed}) for seed in range(session.runs)]
            for handoff in _HANDOFFS
        }
    return {
        **{
            f"{what}_{handoff}": measured(f"{what}_{handoff}", [answer[key] for answer in answers])
            for handoff, answers in seen.items()
            for what, key in (("seam_ratio", "seam"), ("drift", "drift"))
        },
        "chunk_time_ratio": measured("chunk_time_ratio", [last / first]),
        "chunk_memory_ratio": measured("chunk_memory_ratio", [many["peak_bytes"] / few["peak_bytes"]]),
    }
