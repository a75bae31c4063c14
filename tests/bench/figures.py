"""The figures that the benchmark takes: their names, units and goals. One place for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rows import Measured


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a value should be. All that is given must hold."""

    at_most: float | None = None
    at_least: float | None = None
    # Compared with the value beside it: at most so much more. Holds when nothing was measured beside it.
    over_beside: float | None = None
    # Of all runs, not of the value alone.
    highest: float | None = None

    def is_met(self, row: Measured) -> bool:
        """Whether a measured row is as it should be."""
        return (
            (self.at_most is None or row.value <= self.at_most)
            and (self.at_least is None or row.value >= self.at_least)
            and (self.highest is None or row.max <= self.highest)
            and (self.over_beside is None or row.beside is None or row.value <= row.beside.value + self.over_beside)
        )

    def __str__(self) -> str:
        parts = []
        if self.at_most is not None:
            parts.append(f"≤ {self.at_most:g}")
        if self.at_least is not None:
            parts.append(f"≥ {self.at_least:g}")
        if self.highest is not None:
            parts.append(f"max ≤ {self.highest:g}")
        if self.over_beside is not None:
            parts.append(
                f"≤ {self.over_beside:g} more than beside it" if self.over_beside else "below what is beside it"
            )
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One row of the benchmark."""

    name: str
    unit: str
    what: str
    goal: Goal | None = None


def _memory(process: str, goal: Goal | None = None) -> Figure:
    return Figure(
        name=f"rss_{process}_mb",
        unit="MB",
        what=f"peak memory of {process} after a video, an image and a mask",
        goal=goal,
    )


def _step(variant: str) -> Figure:
    return Figure(
        name=f"ltx2_step_s_{variant}",
        unit="s",
        what=f"one denoising step of the video model at real size with random weights, {variant}",
    )


# In the order of the report.
FIGURES: Final = (
    Figure(
        name="mesh_overhead_ratio",
        unit="×",
        what="a 121-frame two-stage video through Envoy, from the client's request to the finished file on its disk ÷ "
        "the same diffusers calls and the same encoding in one process; both warm, in turns",
        goal=Goal(at_most=1.03),
    ),
    Figure(
        name="progress_event_ms",
        unit="ms",
        what="what one progress event costs the denoising loop, with 10 watchers",
        goal=Goal(at_most=1.0),
    ),
    Figure(
        name="accepted_to_running_ms",
        unit="ms",
        what="idle mesh, warm weights: from the event Accepted to the event RUNNING by the events' own times",
        goal=Goal(at_most=50.0),
    ),
    Figure(
        name="rpc_p50_ms",
        unit="ms",
        what="GetProject through Envoy, one call after the other",
        goal=Goal(over_beside=0.5),
    ),
    Figure(name="rpc_rps_64", unit="1/s", what="GetProject through Envoy, 64 calls at a time"),
    Figure(
        name="lease_acquire_p50_ms",
        unit="ms",
        what="a worker's lease from the request until it may be used: recorded by then, with a token of a block that "
        "is on the disk; nobody else asks",
        goal=Goal(at_most=1.5, over_beside=0.0),
    ),
    Figure(name="lease_acquire_p99_ms", unit="ms", what="the same, 99th percentile", goal=Goal(at_most=10.0)),
    Figure(
        name="lease_grants_per_s",
        unit="1/s",
        what="leases taken and given back by 32 workers in one process at once, all of which fit",
        goal=Goal(at_least=800.0),
    ),
    Figure(
        name="lease_handover_ms",
        unit="ms",
        what="from the holder's release to the grant in the hands of the one who waited",
        goal=Goal(at_most=5.0),
    ),
    Figure(
        name="lease_waiters_512_served_s",
        unit="s",
        what="a full queue, each of which wants all: until each of them has had it and given it back",
    ),
    Figure(
        name="lease_waiters_512_handover_ms",
        unit="ms",
        what="the same for one of them, on average; those who still wait are told their places meanwhile",
        goal=Goal(at_most=5.0),
    ),
    Figure(
        name="simulated_steps",
        unit="",
        what="random steps of the arbiter in a simulated world where everything goes wrong, every law checked at each",
        goal=Goal(at_least=1e6),
    ),
    Figure(name="double_grants", unit="", what="memory or tokens that were granted twice in it", goal=Goal(at_most=0)),
    Figure(
        name="overcommitted_bytes",
        unit="B",
        what="bytes granted or loaded beyond the budget in it",
        goal=Goal(at_most=0),
    ),
    Figure(
        name="mutants_caught",
        unit="",
        what="arbiters with one rule broken that the simulation notices, beside all that there are",
        goal=Goal(at_least=70),
    ),
    Figure(
        name="unpark_bandwidth_share",
        unit="",
        what="weights back to the accelerator ÷ the measured host-to-device peak",
        goal=Goal(at_least=0.8),
    ),
    Figure(
        name="watchers_1000_p99_ms",
        unit="ms",
        what="1,000 WatchJob streams through Envoy on one running job: from the making of an event to its receipt",
        goal=Goal(at_most=100.0),
    ),
    Figure(
        name="start_light_s",
        unit="s",
        what="from nothing to arbiter, storyboard, edge and gateway all healthy, with an empty home",
        goal=Goal(at_most=3.0),
    ),
    Figure(
        name="start_mesh_s",
        unit="s",
        what="from nothing to the whole mesh healthy and reachable through the gateway, with an empty home",
        goal=Goal(at_most=15.0),
    ),
    Figure(
        name="chunk_time_ratio",
        unit="×",
        what="processor time of the last ten of 100 chunks ÷ that of the first ten that go on from another; medians",
        goal=Goal(at_most=1.1),
    ),
    Figure(
        name="chunk_memory_ratio",
        unit="×",
        what="peak memory of 100 chunks ÷ peak of 2 chunks",
        goal=Goal(at_most=1.1),
    ),
    Figure(
        name="seam_ratio_latent",
        unit="×",
        what="step of motion and colour at chunk borders ÷ within chunks, latents handed over",
        goal=Goal(at_most=1.2),
    ),
    Figure(
        name="seam_ratio_reencode",
        unit="×",
        what="step of motion and colour at chunk borders ÷ within chunks, frames encoded again",
        goal=Goal(at_most=1.2),
    ),
    Figure(
        name="drift_latent",
        unit="",
        what="colours of the last chunk beside the first, in deviations of its frames, latents handed over",
    ),
    Figure(
        name="drift_reencode",
        unit="",
        what="colours of the last chunk beside the first, in deviations of its frames, frames encoded again",
    ),
    Figure(
        name="second_click_ratio",
        unit="×",
        what="second click on an image ÷ the first; image size, decoder and width of SAM 3, but 2 of its 32 backbone "
        "layers, so that the true ratio is lower",
        goal=Goal(at_most=0.1),
    ),
    Figure(name="match_10k_1k_s", unit="s", what="10,000 shots × 1,000 elements", goal=Goal(at_most=2.0)),
    Figure(name="parse_1mb_s", unit="s", what="a screenplay of 1 MB to scenes and shots", goal=Goal(at_most=0.5)),
    Figure(
        name="fanout_500_accept_s",
        unit="s",
        what="a storyboard of 500 shots until every job is accepted",
        goal=Goal(at_most=5.0),
    ),
    Figure(
        name="fanout_500_lost",
        unit="",
        what="shots of it that are lost while every service is killed once",
        goal=Goal(at_most=0),
    ),
    _memory("arbiter", Goal(at_most=100.0)),
    _memory("storyboard", Goal(at_most=200.0)),
    _memory("video"),
    _memory("image"),
    _memory("segmentation"),
    _memory("edge"),
    _memory("gateway"),
    _memory("envoy"),
    _memory("supervisor"),
    Figure(
        name="idle_cpu_share",
        unit="",
        what="CPU of all processes of the idle mesh with warm weights, 1 = one core",
        goal=Goal(at_most=0.02),
    ),
    _step("eager"),
    _step("compiled"),
    _step("fp8"),
    Figure(name="klein_4step_s", unit="s", what="an image of 1024², 4 steps, at real size"),
    Figure(name="sam3_image_ms", unit="ms", what="one image through SAM 3 at real size"),
)
BY_NAME: Final = {figure.name: figure for figure in FIGURES}

_NOT_BUILT: Final = "not built yet"
_NEEDS_CUDA: Final = "needs a CUDA device; not built yet"
# Figures that nothing measures so far, and why.
UNMEASURED: Final = {
    "unpark_bandwidth_share": _NEEDS_CUDA,
    "match_10k_1k_s": _NOT_BUILT,
    "fanout_500_accept_s": _NOT_BUILT,
    "fanout_500_lost": _NOT_BUILT,
    "ltx2_step_s_eager": _NEEDS_CUDA,
    "ltx2_step_s_compiled": _NEEDS_CUDA,
    "ltx2_step_s_fp8": _NEEDS_CUDA,
    "klein_4step_s": _NEEDS_CUDA,
    "sam3_image_ms": _NEEDS_CUDA,
}
