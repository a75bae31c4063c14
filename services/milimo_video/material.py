"""What chunks are made from besides words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    # An image, or the frames of a video: RGB bytes [n, height, width, 3].
    Material = Image.Image | NDArray[np.uint8]
