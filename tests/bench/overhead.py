"""What the mesh adds to a video: the same work through it and in one process, in turns."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from rows import Beside, Row, measured
from session import PROMPT, Child, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

NAMES: Final = ("mesh_overhead_ratio",)
_SHAPE: Final = {"width": 256, "height": 128, "num_frames": 121, "fps": 25}


def measure(session: Session) -> Mapping[str, Row]:
    """Each run makes one video in each way, each run in another order; the first run warms up and does not count."""
    folder = session.scratch("overhead")
    seconds: dict[str, list[float]] = {"mesh": [], "mp4_writer": [], "encode_video": []}
    with Child(
        "child_reference_video.py", str(session.models / "tiny" / "ltx-2"), environment=session.environment
    ) as child:

        def reference(run: int, encoder: str) -> float:
            path = folder / f"{encoder}-{run}.mp4"
            answer: dict[str, float] = child.ask({**_request(run), "encoder": encoder, "path": str(path)})
            return answer["seconds"]

        ways: list[tuple[str, Callable[[int], float]]] = [
            ("mesh", lambda run: _through_the_mesh(session, run, folder)),
            ("mp4_writer", lambda run: reference(run, "mp4_writer")),
            ("encode_video", lambda run: reference(run, "encode_video")),
        ]
        for run in range(session.runs + 1):
            turn = run % len(ways)
            for name, make in ways[turn:] + ways[:turn]:
                took = make(run)
                if run:
                    seconds[name].append(took)
    ratios = [ours / theirs for ours, theirs in zip(seconds["mesh"], seconds["mp4_writer"], strict=True)]
    others = [ours / theirs for ours, theirs in zip(seconds["mesh"], seconds["encode_video"], strict=True)]
    what = (
        "÷ the same diffusers calls with diffusers' own encode_video; medians: "
        f"mesh {median(seconds['mesh']):.2f} s, one process {median(seconds['mp4_writer']):.2f} s, "
        f"with encode_video {median(seconds['encode_video']):.2f} s"
    )
    return {"mesh_overhead_ratio": measured(NAMES[0], ratios, beside=Beside(what=what, value=median(others)))}


def _request(run: int) -> dict[str, Any]:
    # Another prompt each time: nobody has it encoded already.
    return {"prompt": f"{PROMPT}, take {run}", "seed": run, **_SHAPE}


def _through_the_mesh(session: Session, run: int, folder: Path) -> float:
    client = session.client
    request = session.video(**_request(run))
    begin = time.monotonic()
    job = session.finish(client.videos.SubmitVideo(request).job.id)
    client.download(job.assets[0].id, folder / f"mesh-{run}.mp4")
    return time.monotonic() - begin
