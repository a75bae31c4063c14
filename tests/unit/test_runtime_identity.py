"""Processes are named beyond the reuse of their ids, on platforms with /proc and without."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from milimo_runtime import identity

if TYPE_CHECKING:
    from collections.abc import Callable

named = pytest.mark.parametrize(
    "name", [identity.start_ticks, identity._start_elsewhere], ids=["as here", "without /proc"]
)


@named
def test_a_process_keeps_its_name_and_others_have_another(name: Callable[[int], int | None]) -> None:
    mine = name(os.getpid())
    assert mine is not None
    assert mine == name(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        theirs = name(child.pid)
        assert theirs is not None
        assert theirs > mine
        child.kill()
        # It waits to be reaped.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert name(child.pid) is None
    assert name(child.pid) is None
