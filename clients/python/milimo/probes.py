"""Whether the processes behind a gateway answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from milimo.errors import MilimoError

if TYPE_CHECKING:
    from milimo.client import Milimo

# A process that is away should not make the answer slow.
PROBE_SECONDS: Final = 5.0
# Every process behind the gateway, in the order of the data's way through them.
PROCESSES: Final = ("arbiter", "storyboard", "video", "image", "segmentation", "edge")


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What one process of the mesh answered; `text` says why it did not."""

    process: str
    answers: bool
    text: str


def _probe(client: Milimo, process: str, seconds: float) -> Probe:
    try:
        serves = client.health.serves(process, timeout=seconds)
    except MilimoError as error:
        return Probe(process=process, answers=False, text=" ".join(error.message.split()))
    return Probe(process=process, answers=serves, text="answers" if serves else "answers, but does not serve: it ends")


def probe_processes(client: Milimo, *, seconds: float = PROBE_SECONDS) -> list[Probe]:
    """Asks each process for its health, through the gateway, one after the other. Costs them nothing."""
    return [_probe(client, process, seconds) for process in PROCESSES]
