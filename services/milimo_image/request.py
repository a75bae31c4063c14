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
class Inpaint:
    """Repaints `image` where `mask` is white."""

    image: Reference
    mask: Reference
    strength: float = 1.0  # how much is new, above 0
    feather: int = defaults.DEFAULT_FEATHER  # pixels, inside the mask
    crop_padding: int | None = None  # pixels around the mask to work on; None: the whole image


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """A request for one or more images. `None` stands for the default of the checkpoint or of `defaults`."""

    prompt: str
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
    format: ImageFormat = ImageFormat.JPEG
