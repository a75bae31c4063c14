"""The arbiter's edges one by one: its record, its devices, its watch over processes, its settings."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from milimo_arbiter.devices import SMALL_BUDGET, MemoryMisconfigured, NvmlDriver, find_devices, host_memory
from milimo_arbiter.effects import Forget, Save
from milimo_arbiter.processes import ProcessWatch, is_alive
from milimo_arbiter.settings import ArbiterSettings
from milimo_arbiter.state import Lease, ProcessIdentity, Quarantine, Turn
from milimo_arbiter.store import ANSWERS, TOKENS, Answer, LeaseStore, StoreInUse
from milimo_runtime.identity import pid_namespace, start_ticks
from pydantic import ValidationError

if TYPE_CHECKING:
    from pathlib import Path

LEASE = Lease(
    lease_id="cpu-0-7",
    tenant="video",
    device="cpu:0",
    footprint="bf16",
    bytes=76_000_000_000,
    load_seconds=12.5,
    fencing_token=7,
    resume_token="secret",
    process=ProcessIdentity(pid=10, start_ticks=20, pid_namespace=30),
    min_hold_s=3.0,
    granted_at=100.0,
    expires_at=112.0,
    last_used=100.0,
    stream=4,
    confirmed=True,
    turn=Turn(job_id="j"),
)
QUARANTINED = replace(
    LEASE,
    lease_id="cpu-0-8",
    fencing_token=8,
    process=None,
    quarantine=Quarantine(since=100.0, reason="it was not renewed in time", released=False),
)


def load(path: Path, *, boot_id: str = "boot") -> tuple[dict[str, Lease], dict[str, int]]:
    store = LeaseStore(path)
    record = store.load(now=1_100.0, wall=2_100.0, boot_id=boot_id)
    store.close()
    return dict(record.leases), dict(record.tokens)


def save(path: Path, *changes: Save | Forget) -> None:
    store = LeaseStore(path)
    store.load(now=100.0, wall=2_000.0, boot_id="boot")
    store.apply(changes, now=100.0, wall=2_000.0)
    store.close()


def test_leases_come_back_as_they_were_with_their_age(tmp_path: Path) -> None:
    path = tmp_path / "home" / "arbiter.sqlite"
    save(path, Save(lease=LEASE), Save(lease=QUARANTINED))
    leases, tokens = load(path)
    assert tokens["cpu:0"] >= 8
    expected = replace(LEASE, granted_at=1_000.0, expires_at=1_100.0, last_used=1_100.0, stream=None, turn=None)
    assert leases["cpu-0-7"] == expected
    assert leases["cpu-0-8"].quarantine == Quarantine(
        since=1_100.0, reason="it was not renewed in time", released=False
    )
    assert leases["cpu-0-8"].process is None


def test_the_time_of_a_kill_comes_back_also_from_a_file_of_an_earlier_version(tmp_path: Path) -> None:
    path = tmp_path / "arbiter.sqlite"
    assert QUARANTINED.quarantine is not None
    late = replace(QUARANTINED, quarantine=replace(QUARANTINED.quarantine, kill_at=107.0))
    save(path, Save(lease=late))
    leases, _ = load(path)
    quarantine = leases[late.lease_id].quarantine
    assert quarantine is not None
    # It was to be killed at 2,007 of the wall clock; it is 2,100 now.
    assert quarantine.kill_at == 1_007.0
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE lease DROP COLUMN kill_at")
    connection.close()
    assert load(path)[0][late.lease_id].quarantine == replace(quarantine, kill_at=None)
    save(path, Save(lease=late))
    assert load(path)[0][late.lease_id].quarantine == quarantine


def test_tokens_outlive_their_leases_and_never_fall(tmp_path: Path) -> None:
    path = tmp_path / "arbiter.sqlite"
    save(path, Save(lease=QUARANTINED), Save(lease=LEASE), Forget(lease_id="cpu-0-7"), Forget(lease_id="cpu-0-8"))
    leases, tokens = load(path)
    assert not leases
    assert tokens["cpu:0"] >= 8
    assert load(path) == ({}, tokens)


def test_another_boot_drops_the_leases_and_keeps_the_tokens(tmp_path: Path) -> None:
    path = tmp_path / "arbiter.sqlite"
    save(path, Save(lease=LEASE))
    _, tokens = load(path)
    assert load(path, boot_id="next boot") == ({}, tokens)


def test_no_token_comes_back_with_what_a_power_failure_leaves(tmp_path: Path) -> None:
    path = tmp_path / "arbiter.sqlite"
    store = LeaseStore(path)
    store.load(now=0.0, wall=0.0, boot_id="boot")
    flushed = 0
    for token in range(1, 2 * TOKENS + 2):
        if token > flushed:
            # Flushed with this grant; those that follow are not, and may be lost.
            left = tmp_path / f"failed-{token}"
            left.mkdir()
            store.apply([Save(lease=replace(LEASE, fencing_token=token))], now=0.0, wall=0.0)
            for name in (path.name, f"{path.name}-wal"):
                shutil.copy(tmp_path / name, left)
            flushed = load(left / path.name, boot_id="next boot")[1]["cpu:0"]
            assert flushed >= token
        else:
            store.apply([Save(lease=replace(LEASE, fencing_token=token))], now=0.0, wall=0.0)
    store.close()
    assert len(list(tmp_path.glob("failed-*"))) == 3


def test_a_transaction_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "arbiter.sqlite"
    store = LeaseStore(path)
    store.load(now=0.0, wall=0.0, boot_id="boot")
    broken = replace(LEASE, lease_id=None)  # type: ignore[arg-type]
    with pytest.raises(Exception, match="NOT NULL"):
        store.apply([Save(lease=QUARANTINED), Save(lease=broken)], now=0.0, wall=0.0)
    store.apply([Save(lease=LEASE)], now=0.0, wall=0.0)
    store.close()
    assert set(load(path)[0]) == {"cpu-0-7"}


def test_the_latest_answers_come_back_with_what_they_decided(tmp_path: Path) -> None:
    path = tmp_path / "arbiter.sqlite"
    answers = [Answer(request_id=f"id-{n}", request_hash="hash", response=b"%d" % n) for n in range(ANSWERS + 2)]
    store = LeaseStore(path)
    store.apply([Save(lease=LEASE), *answers], now=100.0, wall=2_000.0)
    store.close()
    store = LeaseStore(path)
    record = store.load(now=0.0, wall=0.0, boot_id="next boot")
    store.close()
    assert list(record.answers.values()) == answers[2:]


def test_the_log_is_written_over_and_does_not_grow(tmp_path: Path) -> None:
    path, log = tmp_path / "arbiter.sqlite", tmp_path / "arbiter.sqlite-wal"
    store = LeaseStore(path)
    store.load(now=0.0, wall=0.0, boot_id="boot")
    sizes = []
    for token in range(1, 2_000):
        lease = replace(LEASE, lease_id=f"cpu-0-{token}", fencing_token=token)
        store.apply([Save(lease=lease)], now=0.0, wall=0.0)
        store.apply([Forget(lease_id=lease.lease_id)], now=0.0, wall=0.0)
        sizes.append(log.stat().st_size)
    store.close()
    # Two pages each: it was full at half of them.
    assert sizes[1_000] == sizes[-1] < 5 << 20


def test_one_record_has_one_arbiter(tmp_path: Path) -> None:
    path = tmp_path / "arbiter.sqlite"
    first = LeaseStore(path)
    with pytest.raises(StoreInUse, match="in use by another arbiter"):
        LeaseStore(path)
    first.close()
    LeaseStore(path).close()


def sleeper() -> subprocess.Popen[bytes]:
    """A process that lives until it is killed."""
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


async def test_the_end_of_a_process_is_told_once() -> None:
    gone: asyncio.Queue[ProcessIdentity] = asyncio.Queue()
    watch = ProcessWatch(gone.put_nowait)
    child = sleeper()
    ticks = start_ticks(child.pid)
    assert ticks is not None
    process = ProcessIdentity(pid=child.pid, start_ticks=ticks, pid_namespace=pid_namespace())
    assert watch.sees(process)
    assert not watch.sees(replace(process, start_ticks=ticks - 1))
    watch.watch(process)
    watch.watch(process)
    assert watch.sees(process)
    assert gone.empty()
    child.kill()
    async with asyncio.timeout(10):
        assert await gone.get() == process
    assert not watch.sees(process)
    assert not is_alive(process), "a zombie holds no memory"
    child.communicate()
    watch.watch(process)
    assert await gone.get() == process, "one that has ended before is told, too"
    assert gone.empty()
    watch.close()


async def test_only_the_very_process_is_killed() -> None:
    gone: asyncio.Queue[ProcessIdentity] = asyncio.Queue()
    watch = ProcessWatch(gone.put_nowait)
    with sleeper() as child:
        ticks = start_ticks(child.pid)
        assert ticks is not None
        process = ProcessIdentity(pid=child.pid, start_ticks=ticks, pid_namespace=pid_namespace())
        assert not watch.kill(process), "nobody has made sure who it is"
        watch.watch(process)
        assert not watch.kill(replace(process, start_ticks=ticks - 1))
        assert child.poll() is None
        assert watch.kill(process)
        async with asyncio.timeout(10):
            assert await gone.get() == process
        assert child.wait() == -signal.SIGKILL
    assert not watch.kill(process)
    watch.close()


async def test_a_pid_that_was_used_again_is_another_process() -> None:
    gone: list[ProcessIdentity] = []
    with sleeper() as child:
        ticks = start_ticks(child.pid)
        assert ticks is not None
        earlier = ProcessIdentity(pid=child.pid, start_ticks=ticks - 1, pid_namespace=pid_namespace())
        watch = ProcessWatch(gone.append)
        watch.watch(earlier)
        assert gone == [earlier]
        watch.close()
        child.kill()


def settings(tmp_path: Path, **more: Any) -> ArbiterSettings:
    return ArbiterSettings(home=tmp_path, arbiter_device="cpu", **more)


BUDGETS: dict[str, tuple[dict[str, Any], int]] = {
    "half of the memory for the real models": ({"model_family": "real"}, host_memory() - host_memory() // 2),
    "little for the small models": ({"model_family": "tiny"}, min(SMALL_BUDGET, host_memory() - host_memory() // 2)),
    "all but the reserve": ({"arbiter_reserve_bytes": 1_000}, host_memory() - 1_000),
    "as configured": ({"arbiter_budget_bytes": 5_000}, 5_000),
}


@pytest.mark.parametrize(("configured", "budget"), BUDGETS.values(), ids=BUDGETS)
def test_a_cpu_lends_host_memory(configured: dict[str, Any], budget: int, tmp_path: Path) -> None:
    device = find_devices(settings(tmp_path, **configured)).devices["cpu:0"]
    assert (device.budget, device.total, device.driver) == (budget, host_memory(), False)


@pytest.mark.parametrize("configured", [{"arbiter_budget_bytes": 1 << 60}, {"arbiter_reserve_bytes": 1 << 60}])
def test_more_than_there_is_cannot_be_lent(configured: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(MemoryMisconfigured, match="cpu:0 has"):
        find_devices(settings(tmp_path, **configured))


def test_a_grace_window_shorter_than_the_ttl_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="it must be at least arbiter_ttl_seconds"):
        settings(tmp_path, arbiter_ttl_seconds=20.0, arbiter_grace_seconds=19.0)


# The only namespace whose process ids NVML speaks of.
FIRST_NAMESPACE = 0xEFFFFFFC


class RecordedNvml:
    """Answers of the library for one device, with what `processes` says about who uses it."""

    def __init__(self, processes: list[tuple[int, int | None]]) -> None:
        self.nvmlDeviceGetComputeRunningProcesses = lambda _: [
            SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in processes
        ]
        self.nvmlDeviceGetGraphicsRunningProcesses = lambda _: list[SimpleNamespace]()
        self.nvmlDeviceGetMemoryInfo = lambda _: SimpleNamespace(total=80 << 30, used=10 << 30)
        self.nvmlDeviceGetName = lambda _: "a device"


def nvml(processes: list[tuple[int, int | None]]) -> NvmlDriver:
    return NvmlDriver(RecordedNvml(processes), {"cuda:0": object()}, namespace=FIRST_NAMESPACE)  # type: ignore[arg-type]


def test_nvml_names_processes_beyond_the_reuse_of_their_ids() -> None:
    with sleeper() as child:
        sample = nvml([(child.pid, 7 << 30), (2**22 + 1, 1 << 30)]).sample("cuda:0", 5.0)
        identity = ProcessIdentity(
            pid=child.pid, start_ticks=start_ticks(child.pid) or 0, pid_namespace=FIRST_NAMESPACE
        )
        child.kill()
    assert (sample.at, sample.used, sample.by_process) == (5.0, 10 << 30, {identity: 7 << 30})


def test_what_nvml_does_not_tell_is_unknown_not_zero() -> None:
    assert nvml([(1, None)]).sample("cuda:0", 0.0).by_process is None
    foreign = NvmlDriver(RecordedNvml([(1, 5)]), {"cuda:0": object()}, namespace=4711)  # type: ignore[arg-type]
    assert foreign.sample("cuda:0", 0.0).by_process is None, "ids of another namespace mean nothing here"


def test_a_cuda_device_keeps_a_reserve_and_is_measured() -> None:
    (device,) = nvml([]).devices(None, None)
    assert (device.total, device.reserve, device.driver) == (80 << 30, 2 << 30, True)
