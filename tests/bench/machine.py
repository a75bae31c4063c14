"""What kind of machine this is. Nothing that names it."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil


def machine(*, date: str, threads: int) -> dict[str, Any]:
    """The facts that figures depend on. `date` is the day of the run, `threads` the CPU threads of each model."""
    return {
        "date": date,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": _cpu(),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3, 1),
        "os": f"{_distribution()} ({platform.machine()})",
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "model_threads": threads,
    }


def _cpu() -> str:
    """The processor's model where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.platform(terse=True)
