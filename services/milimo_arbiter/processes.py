"""Watches the processes that hold memory, so that a dead one is known at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final

from milimo_runtime.identity import start_ticks

if TYPE_CHECKING:
    from collections.abc import Callable

    from milimo_arbiter.state import ProcessIdentity

# Where there are no pidfds, processes are looked at this often, in seconds.
_POLL_S: Final = 0.5


def is_alive(process: ProcessIdentity) -> bool:
    """Whether the very process still runs: same id, same start."""
    return start_ticks(process.pid) == process.start_ticks


class ProcessWatch:
    """Calls `gone` once for each watched process that ends. Belongs to the running event loop."""

    def __init__(self, gone: Callable[[ProcessIdentity], None]) -> None:
        self._gone = gone
        self._descriptors: dict[ProcessIdentity, int] = {}
        self._polled: dict[ProcessIdentity, asyncio.TimerHandle] = {}

    def watch(self, process: ProcessIdentity) -> None:
        """Begins to watch a process of this pid namespace; one that is watched already, or has ended, is no error."""
        if process in self._descriptors or process in self._polled:
            return
        if not hasattr(os, "pidfd_open"):
            self._poll(process)
            return
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:
            self._gone(process)
            return
        # The id may have been used again before it was opened: from here on it cannot.
        if not is_alive(process):
            os.close(descriptor)
            self._gone(process)
            return
        self._descriptors[process] = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._ended, process)

    def sees(self, process: ProcessIdentity) -> bool:
        """Whether the process is alive: of one that is watched that is known."""
        return process in self._descriptors or is_alive(process)

    def kill(self, process: ProcessIdentity) -> bool:
        """SIGKILL to a watched process: its descriptor cannot mean another one. Returns whether it was sent."""
        descriptor = self._descriptors.get(process)
        if descriptor is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            return True
        return False

    def _poll(self, process: ProcessIdentity) -> None:
        if is_alive(process):
            loop = asyncio.get_running_loop()
            self._polled[process] = loop.call_later(_POLL_S, self._poll, process)
        else:
            self._polled.pop(process, None)
            self._gone(process)

    def _ended(self, process: ProcessIdentity) -> None:
        self._drop(process)
        self._gone(process)

    def _drop(self, process: ProcessIdentity) -> None:
        descriptor = self._descriptors.pop(process)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)

    def close(self) -> None:
        """Stops watching."""
        for process in list(self._descriptors):
            self._drop(process)
        for timer in self._polled.values():
            timer.cancel()
        self._polled.clear()
