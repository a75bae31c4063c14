"""Makes videos of so many chunks, one after the other in one process.

python child_chain.py CHECKPOINT FOLDER

A line with a number of chunks is answered with {"seconds", "peak_bytes"}: the processor's time for each of the chunks,
which others on the machine do not take, and the most memory that was resident so far. The numbers shall rise: a peak is
never forgotten.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from milimo_runtime.device import device_plan
from milimo_runtime.observer import Silent
from milimo_video.chain import ChunkFiles, make_chunk
from milimo_video.continuation import load_hand_off
from milimo_video.decode import Tiling
from milimo_video.join import join_chunks
from milimo_video.models import load_models
from milimo_video.packets import Segment
from milimo_video.plan import plan_video
from milimo_video.request import VideoRequest
from milimo_video.text import PromptCache

if TYPE_CHECKING:
    from collections.abc import Iterator

    from milimo_video.continuation import HandOff
    from milimo_video.models import VideoModels
    from milimo_video.plan import VideoPlan

_CHUNK_FRAMES: Final = 17
_NEW_FRAMES: Final = 8


def main() -> None:
    """Answers until its input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    root, base = Path(sys.argv[1]), Path(sys.argv[2])
    models = load_models(root, name="tiny", checkpoint="distilled", devices=device_plan("cpu"))
    for line in sys.stdin:
        with tempfile.TemporaryDirectory(dir=base) as name:
            request = request_of(int(line))
            plan = plan_video(request, "distilled", chunk_frames=_CHUNK_FRAMES)
            seconds = make(models, request, plan, Path(name))
        answers.write(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes()}) + "\n")
        answers.flush()


def request_of(chunks: int) -> VideoRequest:
    """A video of so many chunks."""
    # The last chunk is a whole one too: their times are compared.
    frames = _CHUNK_FRAMES + (chunks - 1) * _NEW_FRAMES
    return VideoRequest(prompt="a red ball", seed=3, width=64, height=64, num_frames=frames)


def make(models: VideoModels, request: VideoRequest, plan: VideoPlan, folder: Path) -> list[float]:
    """Makes the chunks and joins them as video.mp4 in `folder`; returns the processor's seconds for each."""
    prompts, seconds = PromptCache(4), []
    before: HandOff | None = None
    for number, chunk in enumerate(plan.chunks):
        files = ChunkFiles(
            segment=folder / f"{number}.mp4", sound=folder / f"{number}.npy", hand_off=folder / f"{number}.safetensors"
        )
        begin = time.process_time()
        make_chunk(models, request, plan, chunk, {}, before, Silent(), files, prompts=prompts, tiling=Tiling())
        seconds.append(time.process_time() - begin)
        before = load_hand_off(files.hand_off) if files.hand_off.exists() else None

    @contextlib.contextmanager
    def segment(number: int) -> Iterator[Segment]:
        yield Segment(video=folder / f"{number}.mp4", sound=folder / f"{number}.npy")

    rate = models.audio_sample_rate
    join_chunks(request, plan, segment, Silent(), folder / "video.mp4", model="tiny", sample_rate=rate)
    return seconds


def peak_bytes() -> int:
    """The most memory of this process that was resident at any time."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the system does not tell a process's peak memory")


if __name__ == "__main__":
    main()
