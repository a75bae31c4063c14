"""The video process with an arbiter: in which footprint it runs, and what it refuses without asking for memory."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import numpy as np
import pytest
from milimo.v1 import common_pb2, jobs_pb2, video_pb2, video_pb2_grpc
from milimo_runtime.assets import AssetKind, new_id
from milimo_runtime.channels import open_channel
from milimo_runtime.database import now
from milimo_runtime.lease import acquire
from milimo_runtime.lease_terms import Claim, Grade
from milimo_runtime.registry import ModelFootprint, write_manifest
from milimo_runtime.schema import AssetRow
from safetensors.numpy import save_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from milimo_runtime.database import Database

    Started = Callable[[], AbstractAsyncContextManager["Running"]]

MIB = 1024**2
BUDGET = 400 * MIB
FOOTPRINTS = {"bf16": 340 * MIB, "fp8": 260 * MIB, "streamed": 120 * MIB}
# What somebody else is busy with, and what is granted beside it.
BESIDE = {0: "bf16", 100 * MIB: "fp8", 240 * MIB: "streamed"}
VIDEO = {"prompt": "a boat", "seed": 3, "num_frames": 9, "width": 64, "height": 64}
TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"


def install(root: Path, purpose: str, *footprints: ModelFootprint) -> None:
    manifest = dict.fromkeys(("license", "note"), "") | {"name": root.name, "family": "tiny", "advice": "Get it again."}
    manifest |= {"purpose": purpose, "checkpoint": "distilled" if purpose == "video" else ""}
    write_manifest(root, manifest, footprints=footprints)


@dataclass(frozen=True, kw_only=True)
class Running:
    """The process, its arbiter, and the folder of its models."""

    stub: Any
    arbiter: Any
    service: Any
    models: Path


@pytest.fixture
def video_process(
    tmp_path: Path,
    models_dir: Path,
    database_url: str,
    arbiter_process: Callable[..., AbstractAsyncContextManager[Any]],
    service_process: Callable[..., AbstractAsyncContextManager[Any]],
    free_address: Callable[[], str],
) -> Started:
    """Starts both, with the tiny checkpoint in several footprints, for the length of a block."""

    @contextlib.asynccontextmanager
    async def started() -> AsyncIterator[Running]:
        models = tmp_path / "models"
        shutil.copytree(models_dir / "tiny/ltx-2", models / "tiny/ltx-2")
        install(
            models / "tiny/ltx-2",
            "video",
            *(ModelFootprint(name=name, bytes=size) for name, size in FOOTPRINTS.items()),
        )
        address = free_address()
        async with arbiter_process(budget=BUDGET) as arbiter:
            environment = {
                "MILIMO_HOME": tmp_path / "home",
                "MILIMO_DATABASE_URL": database_url,
                "MILIMO_MODELS_DIR": models,
                "MILIMO_MODEL_FAMILY": "tiny",
                "MILIMO_DEVICE": "cpu",
                "MILIMO_ARBITER_ADDRESS": arbiter.address,
                "MILIMO_VIDEO_ADDRESS": address,
            }
            async with (
                service_process("-m", "milimo_video", environment=environment) as service,
                open_channel(address) as channel,
            ):
                stub = video_pb2_grpc.VideoServiceStub(channel)
                yield Running(stub=stub, arbiter=arbiter, service=service, models=models)
                assert service.errors() == []

    return started


@contextlib.asynccontextmanager
async def busy_beside(arbiter: Any, size: int) -> AsyncIterator[None]:
    """Somebody works with so many bytes meanwhile."""
    if not size:
        yield
        return
    lease = await acquire(
        arbiter.channel,
        Claim(tenant="image", grades=(Grade(name="whole", bytes=size),), job_id="an image"),
        on_queued=lambda _: None,
        measure=lambda: size,
        on_change=lambda: None,
    )
    try:
        yield
    finally:
        await lease.release()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_arbiter_chooses_the_footprint_and_the_job_says_which(video_process: Started, project: str) -> None:
    made: dict[str, tuple[str, int]] = {}
    async with video_process() as running:
        video = video_pb2.VideoParameters(**VIDEO)
        planned = video_pb2.PlanVideoRequest(project_id=project, video=video)
        plan = (await running.stub.PlanVideo(planned, wait_for_ready=True, timeout=60)).plan
        assert {footprint.name: footprint.bytes for footprint in plan.footprints} == FOOTPRINTS
        for size, granted in BESIDE.items():
            async with busy_beside(running.arbiter, size):
                request = video_pb2.GenerateVideoRequest(project_id=project, video=video)
                events = [event async for event in running.stub.GenerateVideo(request, timeout=120)]
                assert events[-1].state == jobs_pb2.JOB_STATE_SUCCEEDED, events[-1]
                told = [event.notice for event in events if event.HasField("notice")]
                assert [notice.code for notice in told] == ([] if granted == "bf16" else ["SMALLER_FOOTPRINT"])
                assert all(notice.text == f"runs as {granted}: there was no room for bf16" for notice in told)
                status = await running.arbiter.until(
                    lambda status: any(lease.tenant == "video" and lease.measured_bytes for lease in status.leases)
                )
                (lease,) = [lease for lease in status.leases if lease.tenant == "video"]
                assert (lease.footprint, lease.granted_bytes) == (granted, FOOTPRINTS[granted])
                (asset,) = [event.artefact_committed.asset for event in events if event.HasField("artefact_committed")]
                made[granted] = (asset.sha256, lease.measured_bytes)
        lines = [json.loads(line) for line in running.service.log.read_text().splitlines()]
        assert [line["grade"] for line in lines if line.get("action") == "weights_loaded"] == list(FOOTPRINTS)
    # Streamed weights make the same bits; those in fp8 are fewer bytes and not quite the same.
    assert made["streamed"][0] == made["bf16"][0] != made["fp8"][0]
    assert made["fp8"][1] < made["bf16"][1]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_is_wrong_is_told_without_asking_for_memory(
    video_process: Started, project: str, database: Database
) -> None:
    sizes = {"picture": 32, "dot": 1}
    with database.write() as session:
        for name, side in sizes.items():
            session.add(image_row(name, project, side))
    at_the_end = video_pb2.VideoCondition(asset_id="picture", frame_index=9)
    dot = video_pb2.VideoCondition(asset_id="dot")
    keyframe = video_pb2.VIDEO_PIPELINE_KEYFRAME
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"pipeline_override": keyframe}, "INVALID_ARGUMENT", "video.pipeline_override"),
        ({"conditions": [at_the_end]}, "INVALID_ARGUMENT", r"video.conditions\[0\].frame_index"),
        ({"conditions": [dot]}, "INVALID_ARGUMENT", r"video.conditions\[0\].asset_id: is 1 × 1"),
        ({"loras": [common_pb2.Lora(name="style")]}, "INVALID_ARGUMENT", r"video.loras\[0\].name: .*another model"),
    ]
    async with video_process() as running:

        async def refused(code: str, said: str, **changes: Any) -> None:
            video = video_pb2.VideoParameters(**{**VIDEO, **changes})
            request = video_pb2.SubmitVideoRequest(project_id=project, video=video)
            with pytest.raises(grpc.aio.AioRpcError, match=said) as caught:
                await running.stub.SubmitVideo(request, wait_for_ready=True, timeout=60)
            assert caught.value.code().name == code

        write_other_lora(running.models / "tiny/style")
        for changes, code, said in wrong:
            await refused(code, said, **changes)
        path = running.models / "tiny/ltx-2" / TRANSFORMER
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        await refused("FAILED_PRECONDITION", rf"{TRANSFORMER} \(wrong size\)\. Get it again\.")
        path.unlink()
        await refused("FAILED_PRECONDITION", rf"{TRANSFORMER} \(missing\)\. Get it again\.")
        status = await running.arbiter.status()
        assert not [*status.leases, *status.queue, *status.decisions]


def image_row(asset_id: str, project: str, side: int) -> AssetRow:
    return AssetRow(
        id=asset_id,
        project_id=project,
        kind=AssetKind.IMAGE.value,
        name="",
        media_type="image/png",
        width=side,
        height=side,
        num_frames=0,
        fps=0.0,
        duration_seconds=0.0,
        bytes=1,
        sha256="",
        key=new_id(),
        thumbnail_key="",
        job_id=None,
        artefact=None,
        parameters={},
        created_at=now(),
    )


def write_other_lora(root: Path) -> None:
    """A LoRA for a layer that this model does not have."""
    root.mkdir()
    factors = {"lora_A": (2, 16), "lora_B": (16, 2)}
    weights = {f"transformer.other.{name}.weight": np.zeros(shape, dtype=np.float32) for name, shape in factors.items()}
    save_file(weights, root / "style.safetensors")
    install(root, "lora")
