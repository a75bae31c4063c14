"""The services of a gateway, each answered from what a `Studio` knows."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import grpc
from google.api import httpbody_pb2
from google.protobuf import duration_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from milimo.v1 import (
    arbiter_pb2,
    arbiter_pb2_grpc,
    assets_pb2,
    assets_pb2_grpc,
    common_pb2,
    image_pb2,
    image_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    projects_pb2,
    projects_pb2_grpc,
    segmentation_pb2,
    segmentation_pb2_grpc,
    storyboard_pb2,
    storyboard_pb2_grpc,
    video_pb2,
    video_pb2_grpc,
)
from milimo_runtime.errors import NotFound

from .studio import PNG, Studio, abort

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Jobs(jobs_pb2_grpc.JobServiceServicer):
    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def GetJob(self, request: Any, context: Any) -> Any:
        self.studio.record("GetJob", request, context)
        if request.job_id not in self.studio.jobs:
            abort(context, NotFound("job", request.job_id))
        return jobs_pb2.GetJobResponse(job=self.studio.jobs[request.job_id])

    def ListJobs(self, request: Any, context: Any) -> Any:
        self.studio.record("ListJobs", request, context)
        jobs = [job for job in self.studio.jobs.values() if not request.states or job.state in request.states]
        return jobs_pb2.ListJobsResponse(jobs=jobs[: request.page_size or 100])

    def CancelJob(self, request: Any, context: Any) -> Any:
        self.studio.record("CancelJob", request, context)
        return jobs_pb2.CancelJobResponse(job=self.studio.jobs[request.job_id])

    def RetryJob(self, request: Any, context: Any) -> Any:
        self.studio.record("RetryJob", request, context)
        old = self.studio.jobs[request.job_id]
        return jobs_pb2.RetryJobResponse(job=self.studio.add_job(old.subject.project_id, list(old.assets)))

    def WatchJob(self, request: Any, context: Any) -> Iterator[Any]:
        studio = self.studio
        studio.record("WatchJob", request, context)
        if request.job_id not in studio.events:
            abort(context, NotFound("job", request.job_id))
        after = max(0, request.after_sequence - studio.repeats)
        cut = studio.cuts.popleft() if studio.cuts else None
        sent = 0
        for event in studio.events[request.job_id]:
            if event.durable and event.sequence <= after:
                continue
            if not event.durable and event.sequence < request.after_sequence:
                continue
            if sent == cut:
                if studio.cut_code is not None:
                    context.abort(studio.cut_code, "the stream was told to break")
                return
            yield event
            sent += 1
            if studio.hang.is_set() and sent == 3:
                over = threading.Event()
                context.add_callback(over.set)
                over.wait(30)
                return

    def WatchJobs(self, request: Any, context: Any) -> Iterator[Any]:
        self.studio.record("WatchJobs", request, context)
        for events in self.studio.events.values():
            yield from events


class Projects(projects_pb2_grpc.ProjectServiceServicer):
    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def CreateProject(self, request: Any, context: Any) -> Any:
        self.studio.record("CreateProject", request, context)
        project = projects_pb2.Project()
        project.CopyFrom(request.project)
        project.id = self.studio.new_id("project")
        self.studio.projects[project.id] = project
        return projects_pb2.CreateProjectResponse(project=project)

    def ListProjects(self, request: Any, context: Any) -> Any:
        self.studio.record("ListProjects", request, context)
        newest_first = list(self.studio.projects.values())[::-1]
        # Two a page, whatever was asked: clients have to follow the tokens.
        start = int(request.page_token or 0)
        token = str(start + 2) if start + 2 < len(newest_first) else ""
        return projects_pb2.ListProjectsResponse(projects=newest_first[start : start + 2], next_page_token=token)

    def DeleteProject(self, request: Any, context: Any) -> Any:
        self.studio.record("DeleteProject", request, context)
        del self.studio.projects[request.project_id]
        return projects_pb2.DeleteProjectResponse()


class Assets(assets_pb2_grpc.AssetServiceServicer):
    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def UploadAsset(self, requests: Iterator[Any], context: Any) -> Any:
        first = next(requests)
        self.studio.record("UploadAsset", first, context)
        pieces = [first.content.data, *(request.content.data for request in requests)]
        self.studio.upload_pieces = [len(piece) for piece in pieces]
        asset = self.studio.add_asset(first.project_id, b"".join(pieces), first.content.content_type, name=first.name)
        return assets_pb2.UploadAssetResponse(asset=asset)

    def GetAsset(self, request: Any, context: Any) -> Any:
        self.studio.record("GetAsset", request, context)
        if request.asset_id not in self.studio.assets:
            abort(context, NotFound("asset", request.asset_id))
        return assets_pb2.GetAssetResponse(asset=self.studio.assets[request.asset_id][0])

    def ListAssets(self, request: Any, context: Any) -> Any:
        self.studio.record("ListAssets", request, context)
        found = [asset for asset, _ in self.studio.assets.values() if asset.project_id == request.project_id]
        return assets_pb2.ListAssetsResponse(assets=found)

    def DownloadAsset(self, request: Any, context: Any) -> Iterator[Any]:
        self.studio.record("DownloadAsset", request, context)
        data = self.studio.assets[request.asset_id][1][request.offset :]
        cut = self.studio.download_cuts.popleft() if self.studio.download_cuts else None
        for number, start in enumerate(range(0, len(data), 1000)):
            if number == cut:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the download was told to break")
            yield httpbody_pb2.HttpBody(data=data[start : start + 1000])


class Videos(video_pb2_grpc.VideoServiceServicer):
    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def SubmitVideo(self, request: Any, context: Any) -> Any:
        self.studio.record("SubmitVideo", request, context)
        asset = self.studio.add_asset(request.project_id, b"moving pictures", "video/mp4", name="video")
        return video_pb2.SubmitVideoResponse(job=self.studio.add_job(request.project_id, [asset]))

    def PlanVideo(self, request: Any, context: Any) -> Any:
        self.studio.record("PlanVideo", request, context)
        plan = video_pb2.VideoPlan(
            pipeline=video_pb2.VIDEO_PIPELINE_TI2VID,
            reason="there is no condition",
            width=256,
            height=128,
            num_frames=49,
            fps=25,
            memory_bytes=5 * 1024**3,
            footprint="bf16",
            footprints=[models_pb2.ModelFootprint(name="bf16", bytes=5 * 1024**3)],
            loras=[common_pb2.Lora(name="rain", weight=0.5)],
            model="tiny/ltx-2",
            stages=[video_pb2.VideoStage(name="stage_1", steps=8, forwards=8)],
            chunks=[video_pb2.VideoChunk(model_frames=49, new_frames=49)],
        )
        return video_pb2.PlanVideoResponse(plan=plan)


class Images(image_pb2_grpc.ImageServiceServicer):
    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def SubmitImage(self, request: Any, context: Any) -> Any:
        self.studio.record("SubmitImage", request, context)
        count = request.image.count or 1
        assets = [self.studio.add_asset(request.project_id, b"jpeg%d" % n, "image/jpeg") for n in range(count)]
        return image_pb2.SubmitImageResponse(job=self.studio.add_job(request.project_id, assets))

    def SubmitInpaint(self, request: Any, context: Any) -> Any:
        self.studio.record("SubmitInpaint", request, context)
        asset = self.studio.add_asset(request.project_id, PNG, "image/png")
        return image_pb2.SubmitInpaintResponse(job=self.studio.add_job(request.project_id, [asset]))


class Segmentation(segmentation_pb2_grpc.SegmentationServiceServicer):
    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def PredictMask(self, request: Any, context: Any) -> Any:
        self.studio.record("PredictMask", request, context)
        mask = segmentation_pb2.Mask(png=PNG, score=0.9, area=1234)
        return segmentation_pb2.PredictMaskResponse(masks=[mask], width=64, height=64)

    def SegmentText(self, request: Any, context: Any) -> Any:
        self.studio.record("SegmentText", request, context)
        mask = segmentation_pb2.Mask(png=PNG, score=0.8, area=99, label=request.text)
        return segmentation_pb2.SegmentTextResponse(merged=mask, instances=[mask, mask], width=64, height=64)


class Storyboard(storyboard_pb2_grpc.StoryboardServiceServicer):
    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def ParseScript(self, request: Any, context: Any) -> Any:
        self.studio.record("ParseScript", request, context)
        shot = storyboard_pb2.ParsedShot(
            action="A boat leaves.", character="MARA", dialogue="One more day.", shot_type=storyboard_pb2.SHOT_TYPE_WIDE
        )
        scene = storyboard_pb2.ParsedScene(heading="EXT. HARBOUR - DAWN", shots=[shot])
        return storyboard_pb2.ParseScriptResponse(
            scenes=[scene], mode=storyboard_pb2.SCRIPT_MODE_SCREENPLAY, reason="it has a scene heading"
        )


class Models(models_pb2_grpc.ModelServiceServicer):
    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def ListModels(self, request: Any, context: Any) -> Any:
        self.studio.record("ListModels", request, context)
        model = models_pb2.Model(
            name="ltx-2",
            family="tiny",
            purpose="video",
            footprints=[models_pb2.ModelFootprint(name="float32", bytes=1024**2)],
            advice="`milimo models install tiny` writes it",
        )
        return models_pb2.ListModelsResponse(models=[model])


class Arbiter(arbiter_pb2_grpc.MemoryArbiterServicer):
    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        lease = arbiter_pb2.LeaseStatus(footprint="bf16", device="cpu:0", granted_bytes=1024**2)
        self.leases = [
            arbiter_pb2.LeaseStatus(
                lease_id=f"lease-{number}", tenant=tenant, state=arbiter_pb2.LEASE_STATE_BUSY, job_id="j"
            )
            for number, tenant in enumerate(("video", "image", "image"))
        ]
        for one in self.leases:
            one.MergeFrom(lease)

    def status(self) -> arbiter_pb2.ArbiterStatus:
        return arbiter_pb2.ArbiterStatus(
            devices=[
                arbiter_pb2.DeviceStatus(
                    device="cpu:0",
                    name="a processor",
                    total_bytes=1024**3,
                    granted_bytes=3 * 1024**2,
                    measured_bytes=2 * 1024**2,
                    quarantined_bytes=1024**2,
                )
            ],
            parking_budget_bytes=4 * 1024**2,
            parked_bytes=1024**2,
            leases=self.leases,
            externals=[arbiter_pb2.ExternalStatus(name="ollama", device="cpu:0", problem="it does not answer")],
            queue=[
                arbiter_pb2.WaitingRequest(
                    tenant="image",
                    position=1,
                    reason="video is busy",
                    eta=duration_pb2.Duration(seconds=90),
                    min_bytes=1024**2,
                )
            ],
            decisions=[
                arbiter_pb2.Decision(action="granted", tenant="video", bytes=1024**2, reason=f"number {number}")
                for number in range(20)
            ],
        )

    def GetStatus(self, request: Any, context: Any) -> Any:
        self.studio.record("GetStatus", request, context)
        return arbiter_pb2.GetStatusResponse(status=self.status())

    def WatchStatus(self, request: Any, context: Any) -> Iterator[Any]:
        self.studio.record("WatchStatus", request, context)
        for _ in range(2):
            yield arbiter_pb2.WatchStatusResponse(status=self.status())

    def ReclaimMemory(self, request: Any, context: Any) -> Any:
        self.studio.record("ReclaimMemory", request, context)
        if request.device not in ("", "cpu:0", "mps:0"):
            abort(context, NotFound("device", request.device, field="device"))
        return arbiter_pb2.ReclaimMemoryResponse(leases=[] if request.device == "mps:0" else self.leases[:1])

    def RevokeLease(self, request: Any, context: Any) -> Any:
        self.studio.record("RevokeLease", request, context)
        (lease,) = (one for one in self.leases if one.lease_id == request.lease_id)
        return arbiter_pb2.RevokeLeaseResponse(lease=lease)


class Health(health_pb2_grpc.HealthServicer):
    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def Check(self, request: Any, context: Any) -> Any:
        """As the gateway does it: of the process that a header names."""
        process = dict(context.invocation_metadata())["milimo-process"]
        self.studio.record(f"Check {process}", request, context)
        serves = process not in self.studio.draining
        return health_pb2.HealthCheckResponse(
            status=health_pb2.HealthCheckResponse.SERVING if serves else health_pb2.HealthCheckResponse.NOT_SERVING
        )


SERVICES: tuple[tuple[Callable[[Any, Any], None], type[Any]], ...] = (
    (jobs_pb2_grpc.add_JobServiceServicer_to_server, Jobs),
    (projects_pb2_grpc.add_ProjectServiceServicer_to_server, Projects),
    (assets_pb2_grpc.add_AssetServiceServicer_to_server, Assets),
    (video_pb2_grpc.add_VideoServiceServicer_to_server, Videos),
    (image_pb2_grpc.add_ImageServiceServicer_to_server, Images),
    (segmentation_pb2_grpc.add_SegmentationServiceServicer_to_server, Segmentation),
    (storyboard_pb2_grpc.add_StoryboardServiceServicer_to_server, Storyboard),
    (models_pb2_grpc.add_ModelServiceServicer_to_server, Models),
    (arbiter_pb2_grpc.add_MemoryArbiterServicer_to_server, Arbiter),
    (health_pb2_grpc.add_HealthServicer_to_server, Health),
)
