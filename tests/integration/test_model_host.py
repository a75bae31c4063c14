"""A process's model: loaded on the device and in the grade that an arbiter granted, and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
import torch
from milimo.v1 import arbiter_pb2_grpc
from milimo_arbiter.loop import Arbiter
from milimo_arbiter.repeats import Repeats
from milimo_arbiter.service import MemoryArbiterService
from milimo_arbiter.state import Device, Policy, State
from milimo_arbiter.store import LeaseStore
from milimo_image.program import load as load_image
from milimo_runtime.device import device_plan
from milimo_runtime.errors import MilimoError
from milimo_runtime.interceptors import CallInterceptor
from milimo_runtime.lease_stream import arbiter_channel
from milimo_runtime.model_process import ModelHost, may_park
from milimo_runtime.observer import JobCancelled
from milimo_runtime.registry import ModelFootprint, Registry, write_manifest
from milimo_segmentation.model import load as load_segmentation
from milimo_tiny.flux2 import write_flux2
from milimo_tiny.ltx2 import write_ltx2
from milimo_tiny.sam3 import write_sam3
from milimo_video.loaded import load as load_video

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from milimo_runtime.device import DevicePlan
    from milimo_runtime.registry import InstalledModel

WRITERS: Mapping[str, Callable[[Path], Any]] = {"ltx-2": write_ltx2, "flux-2": write_flux2, "sam-3": write_sam3}
LOADERS: Mapping[str, Callable[..., Any]] = {
    "ltx-2": load_video,
    "flux-2": load_image,
    "sam-3": load_segmentation,
}
PARTS = {"ltx-2": 7, "flux-2": 4, "sam-3": 2}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    models = tmp_path_factory.mktemp("models")
    for name, write in WRITERS.items():
        install(models, name, write, "float32")
    install(models, "halved", lambda root: root.mkdir(), "bf16")
    install(models, "squeezed", lambda root: root.mkdir(), "fp8")
    return Registry(models, "test")


def install(models: Path, name: str, write: Callable[[Path], Any], grade: str) -> None:
    root = models / "test" / name
    root.parent.mkdir(exist_ok=True)
    write(root)
    manifest = {
        "name": name,
        "family": "test",
        "purpose": "image",
        "checkpoint": "distilled",
        "license": "",
        "note": "",
        "advice": "",
    }
    write_manifest(root, manifest, footprints=[ModelFootprint(name=grade, bytes=700)])


@contextlib.asynccontextmanager
async def lending(tmp_path: Path, **budgets: int) -> AsyncIterator[tuple[Arbiter, grpc.aio.Channel]]:
    """An arbiter that believes in these devices ("cuda_1" stands for "cuda:1")."""
    ids = {name.replace("_", ":"): budget for name, budget in budgets.items()}
    devices = {id_: Device(id=id_, name=id_, total=budget, reserve=0) for id_, budget in ids.items()}
    store = LeaseStore(tmp_path / "arbiter.sqlite")
    store.load(now=time.monotonic(), wall=time.time(), boot_id="boot")
    arbiter = Arbiter(
        state=State(policy=Policy(), devices=devices),
        store=store,
        clock=time.monotonic,
        wall=time.time,
        driver=None,
    )
    server = grpc.aio.server(interceptors=[CallInterceptor()])
    arbiter_pb2_grpc.add_MemoryArbiterServicer_to_server(MemoryArbiterService(arbiter, Repeats({})), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    running = asyncio.create_task(arbiter.run())
    try:
        yield arbiter, arbiter_channel(f"127.0.0.1:{port}")
    finally:
        await server.stop(grace=0)
        running.cancel()
        await asyncio.wait([running])
        store.close()


class Weights:
    """A model of that many bytes."""

    def __init__(self, weight_bytes: int) -> None:
        self.weight_bytes = weight_bytes

    def modules(self) -> tuple[()]:
        return ()

    def drop_caches(self) -> None:
        """There are none."""


class Recorded:
    """Loads nothing, and remembers the plans."""

    def __init__(self) -> None:
        self.plans: list[DevicePlan] = []

    def __call__(self, installed: InstalledModel, devices: DevicePlan, check: Callable[[], None]) -> Weights:
        check()
        self.plans.append(devices)
        return Weights(650)


def host_of(registry: Registry, channel: grpc.aio.Channel, name: str, load: Any, device: Any) -> ModelHost[Any]:
    return ModelHost(
        name=name,
        tenant="image",
        registry=registry,
        channel=channel,
        loop=asyncio.get_running_loop(),
        load=load,
        device=device,
        drain_s=10.0,
    )


def turn(host: ModelHost[Any]) -> str:
    with host.residency().turn("j") as turn:
        return turn.grant.device


GRANTS = {
    "the device that has room": ("cuda", {"cuda_0": 100, "cuda_1": 1_000, "cpu_0": 5_000}, "cuda:1", "cuda:1"),
    "the first of several": ("cuda", {"cuda_0": 1_000, "cuda_1": 1_000}, "cuda:0", "cuda:0"),
    "not another kind": ("cpu", {"cuda_0": 9_000, "cpu_0": 1_000}, "cpu:0", "cpu"),
    "mps": ("mps", {"cuda_0": 9_000, "mps_0": 1_000}, "mps:0", "mps"),
}


@pytest.mark.parametrize(("device", "budgets", "granted", "placed"), GRANTS.values(), ids=GRANTS)
async def test_the_plan_is_that_of_the_granted_device(
    device: str, budgets: dict[str, int], granted: str, placed: str, registry: Registry, tmp_path: Path
) -> None:
    async with lending(tmp_path, **budgets) as (_, channel):
        load = Recorded()
        host = host_of(registry, channel, "halved", load, device)
        assert await asyncio.to_thread(turn, host) == granted
        (plan,) = load.plans
        expected = {"mps": "float16"}.get(device, "bfloat16")
        assert (plan.default.device, plan.default.dtype) == (placed, expected)
        await host.close()


async def test_memory_is_measured_on_the_granted_device(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def memory_reserved(device: str) -> int:
        measured.append(device)
        return 640

    monkeypatch.setattr(torch.cuda, "memory_reserved", memory_reserved)
    async with lending(tmp_path, cuda_0=100, cuda_1=1_000) as (arbiter, channel):
        host = host_of(registry, channel, "halved", Recorded(), "cuda")
        await asyncio.to_thread(turn, host)
        async with asyncio.timeout(10):
            while [lease.used for lease in arbiter.state.leases.values()] != [640]:
                await arbiter.changed(arbiter.version)
        assert set(measured) == {"cuda:1"}
        await host.close()


async def test_a_model_that_runs_where_nothing_is_lent_is_refused_with_what_to_do(
    registry: Registry, tmp_path: Path
) -> None:
    async with lending(tmp_path, cuda_0=9_000, cuda_1=9_000) as (arbiter, channel):
        host = host_of(registry, channel, "halved", Recorded(), "cpu")
        with pytest.raises(MilimoError, match=r"of cuda:0, cuda:1 is lent, none of cpu: .*MILIMO_DEVICE") as caught:
            await asyncio.to_thread(turn, host)
        assert caught.value.reason == "DEVICE_UNKNOWN"
        assert not arbiter.state.leases
        await host.close()


async def test_a_model_in_unknown_grades_is_refused_before_anything_is_asked_for(
    registry: Registry, tmp_path: Path
) -> None:
    async with lending(tmp_path, cpu_0=9_000) as (arbiter, channel):
        host = host_of(registry, channel, "squeezed", Recorded(), "cpu")
        with pytest.raises(MilimoError, match="test/squeezed cannot be loaded as 'fp8'"):
            await asyncio.to_thread(turn, host)
        assert arbiter.version == 0
        await host.close()


@pytest.mark.parametrize(
    ("setting", "device", "expected"),
    [
        ("auto", "cuda:1", True),
        ("auto", "cpu:0", False),
        ("auto", "mps:0", False),
        ("always", "cpu:0", True),
        ("never", "cuda:0", False),
    ],
)
def test_weights_are_parked_where_that_is_other_memory(setting: Any, device: str, expected: bool) -> None:
    assert may_park(setting, device) is expected


def modules_of(loaded: Any) -> list[torch.nn.Module]:
    parts = [loaded.models, *(getattr(loaded.models, name) for name in vars(loaded.models))]
    found = [part for part in parts if isinstance(part, torch.nn.Module)]
    pipelines = [part.components.values() for part in parts if hasattr(part, "components")]
    return found + [part for parts in pipelines for part in parts if isinstance(part, torch.nn.Module)]


@pytest.mark.parametrize("name", LOADERS)
async def test_a_real_load_goes_to_the_granted_device_in_the_granted_grade(
    name: str, registry: Registry, tmp_path: Path
) -> None:
    seen: set[tuple[str, torch.dtype]] = set()

    def job(host: ModelHost[Any]) -> int:
        with host.residency().turn("j") as turn:
            seen.update(
                (str(weights.device), weights.dtype)
                for module in modules_of(turn.model)
                for weights in module.parameters()
            )
            return int(turn.model.weight_bytes)

    async with lending(tmp_path, cuda_0=9_000, cpu_0=1_000) as (arbiter, channel):
        host = host_of(registry, channel, name, LOADERS[name], "cpu")
        weight_bytes = await asyncio.to_thread(job, host)
        assert seen == {("cpu", torch.float32)}
        async with asyncio.timeout(10):
            while [lease.used for lease in arbiter.state.leases.values()] != [weight_bytes]:
                await arbiter.changed(arbiter.version)
        await host.close()
        assert not arbiter.state.leases


@pytest.mark.parametrize("name", LOADERS)
def test_a_load_may_be_stopped_between_parts(name: str, registry: Registry) -> None:
    installed = registry.require(name)
    checks: list[None] = []
    loaded = LOADERS[name](installed, device_plan("cpu:0"), lambda: checks.append(None))
    assert len(checks) == PARTS[name]
    assert loaded.weight_bytes > 0
    checks.clear()

    def stop() -> None:
        checks.append(None)
        if len(checks) == 2:
            raise JobCancelled

    with pytest.raises(JobCancelled):
        LOADERS[name](installed, device_plan("cpu:0"), stop)
    assert len(checks) == 2
