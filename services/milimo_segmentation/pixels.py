"""Where an object is, as the model says it, and the pixels of the image that follow from that.

The model answers in a grid much coarser than an image, a few hundred kilobytes an object. Masks of the image's size are
made from it one at a time, on the CPU, when the model's turn is over: a hundred of them would take gigabytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, eq=False)
class Field:
    """Float32 values on the model's grid, (rows, columns); a pixel of the image is the object's above `threshold`."""

    values: npt.NDArray[np.float32]
    threshold: float
    # Of the image.
    width: int
    height: int

    def mask(self) -> npt.NDArray[np.bool_]:
        """The object's pixels, (height, width) of the image: bilinear, without aligned corners, as SAM 3 has it.

        Takes five bytes per pixel while it works.
        """
        grid = torch.from_numpy(self.values)[None, None]
        with torch.inference_mode():
            fine = torch.nn.functional.interpolate(
                grid, size=(self.height, self.width), mode="bilinear", align_corners=False
            )
            return (fine[0, 0] > self.threshold).numpy()
