"""The work of a video job: weights under a lease. One durable step leaves the finished file, or one a chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from milimo_runtime.progress import Stage

from milimo_video import job_parameters
from milimo_video.chained_job import ChainedVideo
from milimo_video.installed import checkpoint_of, compression_of, meet
from milimo_video.job_files import VIDEO_ARTEFACT, commit_video, scratch_folder
from milimo_video.narrative import with_written_prompts
from milimo_video.plan import plan_video, with_prompts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from milimo_runtime.job_run import JobObserver, JobRun
    from milimo_runtime.model_process import ModelProcess

    from milimo_video.loaded import LoadedVideo
    from milimo_video.plan import VideoPlan
    from milimo_video.request import VideoRequest


class VideoProgram:
    """Makes videos: the program of the job kind VIDEO."""

    def __init__(self, process: ModelProcess[LoadedVideo]) -> None:
        self._process = process

    def run(self, run: JobRun) -> None:
        """Makes the video as one durable step, a chained one as a step for each chunk and one that joins them."""
        request = job_parameters.from_json(run.job.parameters)
        installed = self._process.model.installed()
        # Before the lease is asked for: a file may have gone since the job was taken in.
        meet(installed, request)
        plan = plan_video(
            request,
            checkpoint_of(installed),
            chunk_frames=job_parameters.chunk_frames(run.job.parameters),
            compression=compression_of(installed),
        )
        stages = [Stage(name=stage.name, steps=stage.steps, cost=stage.step_cost) for stage in plan.stages]
        request = with_written_prompts(self._process, run, request, plan, stages)
        plan = with_prompts_of(plan, request)

        if plan.chained:
            ChainedVideo(self._process, run, request, plan, stages).make()
            return

        def work(loaded: LoadedVideo, observer: JobObserver) -> Mapping[str, Any]:
            return self._make(run, request, plan, loaded, observer)

        model = self._process.model
        workload = model.workload(width=plan.model_width, height=plan.model_height, frames=plan.num_frames)
        run.step(VIDEO_ARTEFACT, model.residency(), stages, work, workload)

    def _make(
        self, run: JobRun, request: VideoRequest, plan: VideoPlan, loaded: LoadedVideo, observer: JobObserver
    ) -> Mapping[str, Any]:
        earlier = run.committed(VIDEO_ARTEFACT)
        if earlier is not None:
            # Stored by an attempt that died before the step was recorded.
            return {"asset_id": earlier.id}
        from milimo_video.decode import Tiling
        from milimo_video.engine import generate
        from milimo_video.sources import chunk_material

        with scratch_folder(self._process, run) as folder:
            result = generate(
                loaded.models,
                request,
                plan,
                chunk_material(self._process, request, plan, plan.chunks[0]),
                observer,
                folder / "video.mp4",
                prompts=loaded.prompts,
                tiling=Tiling(),
            )
            asset = commit_video(run, self._process, request, result)
        return {"asset_id": asset.id}
