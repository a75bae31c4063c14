"""Which memory there is to lend, and what its driver says about it. Knows no torch."""

from __future__ import annotations

import contextlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import psutil
from milimo_runtime.identity import pid_namespace, start_ticks

from milimo_arbiter.state import Device, ProcessIdentity, Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import ModuleType

    from milimo_arbiter.settings import ArbiterSettings

_GIB: Final = 1 << 30
# Inode of the first pid namespace (PROC_PID_INIT_INO in linux/proc_ns.h): the one whose ids NVML speaks of.
_FIRST_PID_NAMESPACE: Final = 0xEFFFFFFC


class MemoryMisconfigured(RuntimeError):
    """What was configured is not there, or leaves nothing to lend."""


class Driver(Protocol):
    """Whoever can measure devices."""

    def sample(self, device_id: str, at: float) -> Sample:
        """Reads the device now; `at` is the time just before."""

    def close(self) -> None:
        """Lets go of the driver."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The devices to lend, and who measures those whose `driver` is set."""

    devices: Mapping[str, Device]
    driver: Driver | None


# The family whose models need all that there is, and what the others get of host memory.
REAL: Final = "real"
SMALL_BUDGET: Final = 512 * 1024**2


def find_devices(settings: ArbiterSettings) -> Found:
    """The devices as configured, or the best that are there: cuda, then mps, then cpu.

    Raises:
        MemoryMisconfigured: when what was configured is not there, or more than there is.
    """
    wanted = settings.arbiter_device
    budget, reserve = settings.arbiter_budget_bytes, settings.arbiter_reserve_bytes
    if wanted in ("auto", "cuda"):
        driver = NvmlDriver.open()
        if driver is not None:
            return Found(devices={one.id: one for one in driver.devices(budget, reserve)}, driver=driver)
        if wanted == "cuda":
            raise MemoryMisconfigured(
                "no CUDA device answers through NVML: is the driver loaded and nvidia-ml-py installed?"
            )
    host = host_memory()
    if wanted == "mps" or (wanted == "auto" and (platform.system(), platform.machine()) == ("Darwin", "arm64")):
        device = _device("mps:0", "Apple unified memory", host, budget, reserve, kept=host // 4)
    else:
        # A first run on a laptop shows memory change hands: the small models fit, but not all at once.
        kept = host // 2 if settings.model_family == REAL else max(host - SMALL_BUDGET, host // 2)
        device = _device("cpu:0", platform.processor() or platform.machine(), host, budget, reserve, kept=kept)
    return Found(devices={device.id: device}, driver=None)


def _device(
    id_: str, name: str, total: int, budget: int | None, reserve: int | None, *, kept: int, driver: bool = False
) -> Device:
    """The device; `kept` is its reserve when neither a budget nor a reserve is configured."""
    if budget is not None:
        reserve = total - budget
    elif reserve is None:
        reserve = kept
    if not 0 <= reserve < total:
        raise MemoryMisconfigured(f"{id_} has {total} bytes: a budget of {total - reserve} cannot be lent")
    return Device(id=id_, name=name, total=total, reserve=reserve, driver=driver)


def parking_budget(settings: ArbiterSettings, devices: Iterable[Device]) -> int:
    """Bytes of host memory to lend for parked weights: as configured, or half of what is free now.

    None by default where the devices are host memory themselves: there parking would free nothing.
    """
    if settings.arbiter_parking_bytes is not None:
        return settings.arbiter_parking_bytes
    if not any(device.driver for device in devices):
        return 0
    return min(psutil.virtual_memory().available, host_memory()) // 2


def host_memory() -> int:
    """Bytes of host memory that this process may use: what is built in, or the limit of its control group."""
    total = psutil.virtual_memory().total
    with contextlib.suppress(FileNotFoundError, ValueError):
        # The file holds "max" where there is no limit.
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total


class NvmlDriver:
    """NVIDIA's management library. "cuda:0" is the first device that CUDA_VISIBLE_DEVICES leaves, in bus order."""

    def __init__(self, nvml: ModuleType, handles: Mapping[str, Any], *, namespace: int) -> None:
        self._nvml = nvml
        self._handles = handles
        self._namespace = namespace
        self._sees_processes = namespace == _FIRST_PID_NAMESPACE

    @classmethod
    def open(cls) -> NvmlDriver | None:
        """The driver; None where there is no library, no driver, or no device.

        Raises:
            MemoryMisconfigured: when CUDA_VISIBLE_DEVICES names a device that is not there.
        """
        try:
            import pynvml
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError:
            return None
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = (
            [str(index) for index in range(count)] if visible is None else [one for one in visible.split(",") if one]
        )
        handles: dict[str, Any] = {}
        for index, name in enumerate(names):
            try:
                handle = (
                    pynvml.nvmlDeviceGetHandleByIndex(int(name))
                    if name.strip().isdigit()
                    else pynvml.nvmlDeviceGetHandleByUUID(name.strip())
                )
            except pynvml.NVMLError as error:
                raise MemoryMisconfigured(f"CUDA_VISIBLE_DEVICES names {name!r}: {error}") from error
            handles[f"cuda:{index}"] = handle
        return cls(pynvml, handles, namespace=pid_namespace()) if handles else None

    def devices(self, budget: int | None, reserve: int | None) -> Sequence[Device]:
        """The devices with their memory; `budget` bytes of each where that is given."""
        found = []
        for id_, handle in self._handles.items():
            total = int(self._nvml.nvmlDeviceGetMemoryInfo(handle).total)
            name = str(self._nvml.nvmlDeviceGetName(handle))
            found.append(_device(id_, name, total, budget, reserve, kept=min(2 * _GIB, total // 16), driver=True))
        return found

    def sample(self, device_id: str, at: float) -> Sample:
        """Bytes in use, and by whom where this process can know it."""
        handle = self._handles[device_id]
        used = int(self._nvml.nvmlDeviceGetMemoryInfo(handle).used)
        return Sample(at=at, used=used, by_process=self._by_process(handle) if self._sees_processes else None)

    def _by_process(self, handle: Any) -> Mapping[ProcessIdentity, int] | None:
        by_pid: dict[int, int] = {}
        for list_processes in (
            self._nvml.nvmlDeviceGetComputeRunningProcesses,
            self._nvml.nvmlDeviceGetGraphicsRunningProcesses,
        ):
            for process in list_processes(handle):
                if process.usedGpuMemory is None:
                    # Not told, as on WSL2 and in some containers: unknown is not zero.
                    return None
                by_pid[process.pid] = max(by_pid.get(process.pid, 0), int(process.usedGpuMemory))
        starts = {pid: start_ticks(pid) for pid in by_pid}
        return {
            ProcessIdentity(pid=pid, start_ticks=start, pid_namespace=self._namespace): by_pid[pid]
            for pid, start in starts.items()
            if start is not None
        }

    def close(self) -> None:
        """Lets go of the library."""
        self._nvml.nvmlShutdown()
