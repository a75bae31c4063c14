"""The first calls of the README, as they stand there but for the address, on a mesh of which nothing is configured."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from milimo_deploy import small_models
from milimo_deploy.mesh import free_addresses, plan_mesh
from milimo_deploy.running import running_mesh
from milimo_shapes.outlines import Shape
from milimo_shapes.scene import Colour, Motion
from milimo_shapes.watching import watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from milimo_deploy.running import RunningMesh

ROOT = Path(__file__).parents[2]
TYPESCRIPT = ROOT / "clients/typescript"
MODULES = TYPESCRIPT / "node_modules"
PRINTED_ADDRESS = "127.0.0.1:8080"


def _snippet(language: str, address: str) -> str:
    """The README's only block of that language, with the address of the mesh that runs."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) == 1
    assert blocks[0].count(PRINTED_ADDRESS) == 1
    return str(blocks[0].replace(PRINTED_ADDRESS, address))


def _run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """As `milimo up` starts it."""
    home = tmp_path_factory.mktemp("readme")
    small_models.install(home / "models", small_models.SHAPES)
    environment = {"MILIMO_MODELS_DIR": str(home / "models"), "OMP_NUM_THREADS": "1"}
    with running_mesh(plan_mesh(home, free_addresses(), environment=environment)) as running:
        yield running


def test_python(mesh: RunningMesh, tmp_path: Path) -> None:
    printed = _run(sys.executable, "-c", _snippet("python", mesh.address), cwd=tmp_path)
    *progress, file = printed.splitlines()
    assert progress[-1].endswith("%")
    with av.open(str(tmp_path / file)) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(np.uint8) for frame in container.decode(video=0)]
    # The size that the small models make best, since nobody said one.
    assert (len(frames), frames[0].shape) == (121, (128, 256, 3))
    star = watch(frames[::4])[0]
    assert (star.colour, star.shape, star.motion) == (Colour.YELLOW, Shape.STAR, Motion.BOUNCING)


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_curl(mesh: RunningMesh, tmp_path: Path) -> None:
    printed = _run("bash", "-eu", "-c", _snippet("bash", mesh.address), cwd=tmp_path)
    *events, state, url = printed.splitlines()
    assert events[0].startswith("data:")
    assert state == "JOB_STATE_SUCCEEDED"
    assert url.startswith("/media/projects/")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.skipif(not MODULES.is_dir(), reason="the TypeScript client is not set up: npm ci in clients/typescript")
def test_typescript(mesh: RunningMesh, tmp_path: Path) -> None:
    """Compiled under the client's own strict rules; "milimo" is the client, as its package.json exports it."""
    shutil.copy(TYPESCRIPT / "package.json", tmp_path)
    (tmp_path / "node_modules").symlink_to(MODULES)
    (tmp_path / "src").symlink_to(TYPESCRIPT / "src")
    shutil.copy(TYPESCRIPT / "tsconfig.json", tmp_path)
    # The built client first: the snippet sees its declarations, like a user's program.
    compiler = ("node", MODULES / "typescript/bin/tsc", "--preserveSymlinks")
    _run(*compiler, "-p", "tsconfig.json", cwd=tmp_path)
    (tmp_path / "readme.ts").write_text(_snippet("ts", mesh.address), encoding="utf-8")
    options = ("--target", "es2022", "--module", "nodenext", "--strict", "--skipLibCheck", "--types", "node")
    _run(*compiler, *options, "readme.ts", cwd=tmp_path)
    (url,) = _run("node", "readme.js", cwd=tmp_path).splitlines()
    assert url.startswith("/media/projects/")
