"""What a caller asks of image generation, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from milimo_image import defaults


class ImageFormat(Enum):
    """File format of a result."""

    JPEG = "jpeg"
    PNG = "png"


class ReferenceMode(Enum):
    """How reference images reach the model."""

    AUTO = "auto"
    TOKENS = "tokens"
    IP_ADAPTER = "ip_adapter"
    BOTH = "both"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """An image to take subjects and style from; its size in pixels."""

    asset_id: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Click:
    """A point of an image, in pixels, on the object that is meant or beside it."""

    x: float
    y: float
    positive: bool = True


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box around an object, in pixels."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, kw_only=True)
class MaskPrompt:
    """What to repaint: everything that `text` finds; or the object under the clicks, or in each of the boxes."""

    text: str = ""
    points: tuple[Click, ...] = ()
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outpaint:
    """Pixels by which the canvas grows on each side."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether the canvas stays as it is."""
        return not (self.left or self.top or self.right or self.bottom)


@dataclass(frozen=True, kw_only=True)
class Inpaint:
    """Repaints `image` where the mask is white, and what the canvas grows by."""

    image: Reference
    # One of the two at most; none only where the canvas grows.
    mask: Reference | None = None
    mask_prompt: MaskPrompt | None = None
    outpaint: Outpaint = Outpaint()
    strength: float = 1.0  # how much is new, above 0
    feather: int = defaults.DEFAULT_FEATHER  # pixels, inside the mask
    crop_padding: int | None = None  # pixels around the mask to work on; None: the whole image

    @property
    def canvas(self) -> tuple[int, int]:
        """Width and height of the result."""
        grown = self.outpaint
        return self.image.width + grown.left + grown.right, self.image.height + grown.top + grown.bottom


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """A request for one or more images. `None` stands for the default of the checkpoint or of `defaults`."""

    prompt: str
    # As it was given, where elements made another one of it.
    original_prompt: str = ""
    negative_prompt: str = ""
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int | None = None
    count: int = 1
    enable_true_cfg: bool = False
    cfg_scale: float | None = None
    enable_ae: bool | None = None
    references: tuple[Reference, ...] = ()
    reference_mode: ReferenceMode = ReferenceMode.AUTO
    inpaint: Inpaint | None = None
    enhance_prompt: bool = False
    format: ImageFormat = ImageFormat.JPEG
