"""How trials measure, on videos whose truth is known, and the report of what they found."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from milimo_shapes.findings import FILM, REPORT, SHEET, Finding, Trial, write_report
from milimo_shapes.outlines import Shape
from milimo_shapes.rendering import Canvas, draw
from milimo_shapes.scene import Backdrop, Background, Colour, Motion, Scene, Size, Thing
from milimo_shapes.video_trials import identity, jumps
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from milimo_shapes.arrays import Bytes

_STAR = Thing(shape=Shape.STAR, colour=Colour.YELLOW, size=Size.LARGE, motion=Motion.RIGHT, across=0.0, down=0.5)
_SEAM = 20


def _video(thing: Thing = _STAR, *, start: float = 0.0) -> Bytes:
    scene = Scene(things=(thing,), background=Background(start=Backdrop.TEAL))
    frames: Bytes = draw(scene, Canvas(width=128, height=64, frames=40, start=start)).frames
    return frames


def test_a_steady_movement_has_no_jump_and_a_cut_has() -> None:
    assert jumps(_STAR, _video(), [_SEAM]) == pytest.approx([1.0], abs=0.3)
    cut = np.concatenate([_video()[:_SEAM], _video(start=1.0)[_SEAM:]])
    assert jumps(_STAR, cut, [_SEAM])[0] > 10.0
    assert jumps(replace(_STAR, colour=Colour.RED), _video(), [_SEAM]) == [10.0]


def test_identity_is_kept_while_colour_and_shape_are() -> None:
    assert identity(_STAR, _video()) == 1.0
    square = replace(_STAR, shape=Shape.SQUARE)
    assert identity(_STAR, np.concatenate([_video()[:_SEAM], _video(square)[_SEAM:]])) == 0.5
    assert identity(square, _video()) == 0.0


def test_the_report_says_what_is_missed(tmp_path: Path) -> None:
    met = Finding(name="colour", value=0.96, wanted=0.95)
    missed = Finding(name="time", value=21.0, wanted=20.0, unit="s", is_limit=True)
    told = Finding(name="told", value=3.0, unit="dB")
    assert (met.is_met, missed.is_met, told.is_met) == (True, False, True)
    picture = np.zeros((8, 12, 3), np.uint8)
    film = np.zeros((3, 8, 24, 3), np.uint8)
    film[:, :, :, 0] = np.arange(0, 240, 80)[:, None, None]
    write_report(tmp_path, [Trial(findings=(met, missed, told), rows=([picture, picture], [picture]), film=film)])
    text = (tmp_path / REPORT).read_text(encoding="utf-8")
    assert "| colour | 96 % | ≥ 95 % |" in text
    assert "| time | 21.0 s (missed) | ≤ 20.0 s |" in text
    assert "| told | 3.0 dB |  |" in text
    with Image.open(tmp_path / SHEET) as sheet:
        assert sheet.size == (32, 24)
    with Image.open(tmp_path / FILM) as moving:
        assert (moving.size, getattr(moving, "n_frames", 1)) == ((24, 8), 3)
