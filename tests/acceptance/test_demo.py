"""`make demo`, and what it leaves behind: results, and no process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from milimo_deploy.demo import FRAMES
from milimo_shapes.outlines import Shape
from milimo_shapes.scene import Colour, Motion
from milimo_shapes.watching import watch

COMMAND = [sys.executable, "-m", "milimo_deploy.demo"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "MILIMO_HOME": str(tmp_path / "home")}


def _descendants(demo: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(demo.pid).children(recursive=True)


def test_makes_a_film_of_a_script(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    *pictures, film = (Path(line) for line in done.stdout.splitlines()[-7:])
    assert [path.name for path in pictures] == [f"shot-{n}.{kind}" for kind in ("jpg", "mp4") for n in (1, 2, 3)]
    assert "granted" in done.stdout
    assert "reclaim requested" in done.stdout
    with av.open(str(film)) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(np.uint8) for frame in container.decode(video=0)]
    assert [frame.shape for frame in frames] == [(128, 256, 3)] * (3 * FRAMES)
    # Each shot shows what the script says of it, all the time.
    shots = [watch(frames[start : start + FRAMES : 4])[0] for start in range(0, 3 * FRAMES, FRAMES)]
    assert [(shot.colour, shot.shape, shot.motion) for shot in shots] == [
        (Colour.YELLOW, Shape.CIRCLE, Motion.UP),
        (Colour.RED, Shape.TRIANGLE, Motion.RIGHT),
        (Colour.WHITE, Shape.STAR, Motion.BOUNCING),
    ]
    assert min(shot.presence for shot in shots) > 0.9


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_leaves_no_process_behind(environment: dict[str, str], tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        COMMAND, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "answers at" in line:
                break
        running = _descendants(demo)
        assert running
        demo.send_signal(number)
        demo.stdout.read()
        assert demo.wait(timeout=60) not in (0, None)
    _, alive = psutil.wait_procs(running, timeout=10)
    assert alive == []
