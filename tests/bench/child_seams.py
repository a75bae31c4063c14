"""Makes videos of several chunks with either hand-off, and measures their seams and drift.

python child_seams.py CHECKPOINT FOLDER

A line {"handoff", "seed"} is answered with {"seam", "drift"}.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Final

import av
import numpy as np
import torch
from child_chain import make
from milimo_runtime.device import device_plan
from milimo_video.models import load_models
from milimo_video.plan import plan_video
from milimo_video.request import Handoff, VideoRequest
from seam import drift, seam_ratio

_CHUNK_FRAMES: Final = 41
_OVERLAP_FRAMES: Final = 17
_FRAMES: Final = 41 + 5 * 24


def main() -> None:
    """Answers until its input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    root, base = Path(sys.argv[1]), Path(sys.argv[2])
    models = load_models(root, name="tiny", checkpoint="distilled", devices=device_plan("cpu"))
    for line in sys.stdin:
        asked = json.loads(line)
        request = VideoRequest(
            prompt="a red ball rolls over the grass",
            seed=asked["seed"],
            width=128,
            height=64,
            num_frames=_FRAMES,
            overlap_frames=_OVERLAP_FRAMES,
            handoff=Handoff(asked["handoff"]),
        )
        plan = plan_video(request, "distilled", chunk_frames=_CHUNK_FRAMES)
        with tempfile.TemporaryDirectory(dir=base) as name:
            make(models, request, plan, Path(name))
            with av.open(str(Path(name) / "video.mp4")) as container:
                frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        borders = [chunk.span.start for chunk in plan.chunks[1:]]
        answers.write(json.dumps({"seam": seam_ratio(frames, borders), "drift": drift(frames, borders)}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
