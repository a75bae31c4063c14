"""The access log is rotated when it is full, and no more files than three are kept."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from milimo_gateway.access_log import BACKUPS, bound

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("size", "rotated"), [(0, False), (10, False), (11, True)])
def test_only_a_full_log_is_rotated(size: int, rotated: bool, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(bytes(size))
    assert bound(path, 10) is rotated
    assert path.exists() is not rotated
    assert (tmp_path / "access.log.1").exists() is rotated


def test_the_oldest_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    for number in range(BACKUPS + 2):
        path.write_text(str(number))
        assert bound(path, 0)
    kept = {each.name: each.read_text() for each in tmp_path.iterdir()}
    assert kept == {"access.log.1": "4", "access.log.2": "3", "access.log.3": "2"}


def test_a_log_that_somebody_moved_away_is_opened_anew(tmp_path: Path) -> None:
    assert bound(tmp_path / "access.log", 10)


def test_a_pipe_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "access.log")
    assert not bound(tmp_path / "access.log", 0)
