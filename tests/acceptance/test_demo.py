"""`make demo`, and what it leaves behind: results, and no process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

COMMAND = [sys.executable, "-m", "milimo_deploy.demo"]


@pytest.fixture
def environment(models_dir: Path, tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "MILIMO_MODELS_DIR": str(models_dir), "MILIMO_HOME": str(tmp_path / "home")}


def _descendants(demo: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(demo.pid).children(recursive=True)


def test_makes_an_image_a_mask_and_a_video(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    *_, image, mask, video = (Path(line) for line in done.stdout.splitlines())
    assert [path.suffix for path in (image, mask, video)] == [".jpg", ".png", ".mp4"]
    assert all(path.stat().st_size for path in (image, mask, video))
    assert "granted" in done.stdout
    assert "reclaim requested" in done.stdout
    assert "noise by design" in done.stdout


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
