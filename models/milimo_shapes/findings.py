"""What the judge found, and the report of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from milimo_shapes.arrays import Bytes

REPORT: Final = "shapes.md"
SHEET: Final = "shapes.png"
FILM: Final = "shapes.webp"
_FILM_FPS: Final = 25
_HEAD: Final = """# The shapes family

Small weights, trained on a toy world of coloured shapes by `make train-shapes`, for two cores and a few hours: LTX-2
and FLUX.2 as the services load them. `make evaluate-shapes` writes this page. The judge has no learned parts: it fits a
background, and tells colour by distance and shape by contour (`models/milimo_shapes/judge.py`). Captions and seeds are
held out. Pictures and videos are 256 × 128, videos 121 frames at 25 a second, made by the services' engines.

![Videos from words](shapes.webp)

![What the family makes: pictures from words, references and what was made of them, images before and after inpainting;
then clips from words, from an image, between keyframes, and chains](shapes.png)

| what | found | wanted |
| --- | --- | --- |
"""
_TAIL: Final = """
## How they are trained

| component | steps | minutes of one core |
| --- | --- | --- |
| video autoencoder: pictures, then clips of 9 and 17 frames | 4,500 | 72 |
| latents of 4,096 pictures, 2,560 clips, 768 clips at all sizes | | 45 |
| spatial upsampler, temporal upsampler | 2,500, 2,000 | 8 |
| Gemma and connectors of videos | 800 | 4 |
| video transformer, from step 31,650 on with Muon | 33,300 | 635 |
| image autoencoder | 4,000 | 47 |
| latents of 20,000 pictures and 9,200 images beside them | | 12 |
| image transformer, Qwen3 | 28,400 | 390 |

The video model and the image model are trained side by side, with a thread each: two threads on one of them are half as
fast again, not twice. Transformers learn by flow matching, mostly at the noise levels that the distilled schedules
visit, and along their steps. One object of which only words tell begins in the middle, or where it has room to move;
two of a picture lie where the noise that they are learned from is most like them. Clips of which words tell all come in
twins that differ in one fact and get the same noise, and what is wrong with their difference counts most: without them
shapes and movements, small beside colours and backgrounds, are heard late. At half size a small object that moves loses
its shape; stage 2 brings it back from words and from what is given, and learns to along its three steps, each from what
the one before it made, and the first from what stage 1 did. What goes on from an image or a chunk moves at one pace:
what no first frame tells would be blurred. Small objects that move sideways, fastest, are hardest and drawn most often.
Muon moves the matrices of the video transformer's blocks, AdamW all other weights. Qwen3 learns with its transformer,
Gemma before it, from what captions say. A run goes on where it was stopped; its `curve.csv` and `held_out.csv` tell how
it went. Audio parts are silent by construction.

Inpainting works on the mask's surroundings here (`crop_padding` 0). On a whole image a distilled model has placed an
object in its first step, before anything but the words and the image beside it can be seen: one that lies astride the
mask's edge is cut there.
"""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A figure beside the least, or with `is_limit` the most, that it shall be; None where it is only told.

    A `unit` of "%" stands for a share from 0 to 1.
    """

    name: str
    value: float
    wanted: float | None = None
    unit: str = "%"
    is_limit: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the figure is what it shall be."""
        if self.wanted is None:
            return True
        return self.value <= self.wanted if self.is_limit else self.value >= self.wanted

    def __str__(self) -> str:
        return f"{self.name}: {self.figure}" + ("" if self.is_met else f", wanted {self.goal}")

    @property
    def figure(self) -> str:
        """What was found, as text."""
        return _figure(self.value, self.unit) + ("" if self.is_met else " (missed)")

    @property
    def goal(self) -> str:
        """What is wanted, as text."""
        if self.wanted is None:
            return ""
        return f"{'≤' if self.is_limit else '≥'} {_figure(self.wanted, self.unit)}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """What one trial found, with rows of pictures [H, W, 3] that show it, and maybe a film [T, H, W, 3]."""

    findings: tuple[Finding, ...]
    rows: tuple[Sequence[Bytes], ...]
    film: Bytes | None = None


def write_report(folder: Path, trials: Sequence[Trial]) -> None:
    """Writes the table, the contact sheet and the film."""
    folder.mkdir(parents=True, exist_ok=True)
    findings = [finding for trial in trials for finding in trial.findings]
    lines = [f"| {finding.name} | {finding.figure} | {finding.goal} |" for finding in findings]
    (folder / REPORT).write_text(_HEAD + "\n".join(lines) + "\n" + _TAIL, encoding="utf-8")
    rows = [np.concatenate([_framed(picture) for picture in row], axis=1) for trial in trials for row in trial.rows]
    widest = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    Image.fromarray(np.concatenate(padded)).save(folder / SHEET, optimize=True)
    for film in (trial.film for trial in trials if trial.film is not None):
        first, *others = (Image.fromarray(frame) for frame in film)
        duration = 1000 // _FILM_FPS
        first.save(folder / FILM, save_all=True, append_images=others, duration=duration, loop=0, quality=70)


def _framed(picture: Bytes) -> Bytes:
    """With a white border, so that neighbours can be told apart."""
    return np.pad(picture, ((2, 2), (2, 2), (0, 0)), constant_values=255)


def _figure(value: float, unit: str) -> str:
    return f"{100 * value:.0f} %" if unit == "%" else f"{value:.1f} {unit}".strip()
