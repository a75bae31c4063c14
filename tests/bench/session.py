"""What the groups of figures share: folders, one warm mesh, and child processes that answer line by line."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from milimo.client import Milimo
from milimo.v1 import jobs_pb2, projects_pb2
from milimo.v1.video_pb2 import SubmitVideoRequest, VideoParameters
from milimo_deploy import small_models
from milimo_deploy.mesh import NAMES, Mesh, free_addresses, plan_mesh
from milimo_deploy.running import RunningMesh, running_mesh

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

HERE: Final = Path(__file__).parent
PROMPT: Final = "a red fishing boat sails past a lighthouse at dawn, slow tracking shot"


class Unavailable(RuntimeError):
    """A figure cannot be taken here. The message says why."""


class Child:
    """A process of one of the scripts beside this file. It takes a JSON value a line and answers each with one."""

    def __init__(self, script: str, *arguments: str, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # As the mesh has: Linux shares the processor out between sessions.
            start_new_session=True,
            # Bars of progress would only be in the way.
            env={**os.environ, "TQDM_DISABLE": "1", **environment},
        )
        self._script = script

    def hear(self) -> Any:
        """The next line. Raises RuntimeError when the child has ended instead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._script} ended with status {self._process.wait()}; see what it printed")
        return json.loads(line)

    def tell(self, value: Any) -> None:
        """Sends a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()

    def ask(self, value: Any) -> Any:
        """Sends a line and waits for the answer."""
        self.tell(value)
        return self.hear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # The end of its input is the end of a child.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Session:
    """One run of the benchmark. A context manager; whatever it started has ended afterwards."""

    def __init__(self, *, folder: Path, models: Path, threads: int, runs: int) -> None:
        """`folder` is for scratch; `threads` are the CPU threads of each model; `runs` how often a ratio is taken."""
        self._folder = folder
        self._models = models
        self.threads = threads
        self.runs = runs
        self._stack = contextlib.ExitStack()
        self._mesh: RunningMesh | None = None
        self._client: Milimo | None = None
        self._project_id = ""
        # Seconds until the mesh was healthy, when it was started.
        self.mesh_seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def scratch(self, name: str) -> Path:
        """A folder that is empty and of nobody else."""
        folder = self._folder / f"{name}-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        return folder

    @property
    def models(self) -> Path:
        """The folder of the tiny checkpoints, which are written when they are not there."""
        if small_models.needs_install(self._models, small_models.TINY):
            small_models.install(self._models, small_models.TINY)
        return self._models

    @property
    def environment(self) -> dict[str, str]:
        """What every process is told that computes."""
        return {"OMP_NUM_THREADS": str(self.threads)}

    def plan(self, *, only: Collection[str] = NAMES, **environment: str) -> Mesh:
        """A mesh on free ports with an empty home and memory for all models."""
        settings = {
            **self.environment,
            "MILIMO_MODELS_DIR": str(self.models.resolve()),
            "MILIMO_MODEL_FAMILY": small_models.TINY,
            "MILIMO_DEVICE": "cpu",
            "MILIMO_ARBITER_DEVICE": "cpu",
            "MILIMO_TORCH_THREADS": str(self.threads),
        }
        return plan_mesh(
            self.scratch("mesh"),
            free_addresses(),
            environment={**settings, **environment},
            only=only,
            drain_seconds=5.0,
        )

    @contextlib.contextmanager
    def running(self, mesh: Mesh) -> Iterator[tuple[RunningMesh, float]]:
        """The mesh for the length of a block, and the seconds that it took to be healthy."""
        begin = time.monotonic()
        with running_mesh(mesh) as running:
            yield running, time.monotonic() - begin

    @property
    def mesh(self) -> RunningMesh:
        """The whole mesh, started when first asked for; it runs until the session's end."""
        if self._mesh is None:
            self._mesh, self.mesh_seconds = self._stack.enter_context(self.running(self.plan()))
        return self._mesh

    @property
    def client(self) -> Milimo:
        """A client of the mesh, through its gateway."""
        if self._client is None:
            self._client = self._stack.enter_context(Milimo(self.mesh.address))
        return self._client

    @property
    def project_id(self) -> str:
        """A project in the mesh."""
        if not self._project_id:
            request = projects_pb2.CreateProjectRequest(project=projects_pb2.Project(name="benchmark"))
            self._project_id = self.client.projects.CreateProject(request).project.id
        return self._project_id

    def video(self, **parameters: Any) -> SubmitVideoRequest:
        """A request for a video; without parameters one that is small and quick."""
        values = {"prompt": PROMPT, "width": 64, "height": 64, "num_frames": 9, "fps": 25, "seed": 1, **parameters}
        return SubmitVideoRequest(
            project_id=self.project_id, video=VideoParameters(**values), request_id=str(uuid.uuid4())
        )

    def finish(self, job_id: str) -> jobs_pb2.Job:
        """Waits for a job's end. Raises RuntimeError when it did not succeed."""
        job = self.client.watch(job_id).result()
        if job.state != jobs_pb2.JOB_STATE_SUCCEEDED:
            raise RuntimeError(f"job {job_id} ended as {jobs_pb2.JobState.Name(job.state)}: {job.error.message}")
        return job

    def warm_up(self) -> None:
        """Has the video weights loaded."""
        self.finish(self.client.videos.SubmitVideo(self.video()).job.id)
