"""Finished images as files: JPEG or PNG that carry their prompt and parameters, and a thumbnail.

Where the metadata stand, so that other programs find them: JPEG has the prompt in EXIF ImageDescription and the
parameters as JSON in EXIF UserComment; PNG has them in the iTXt chunks "Description" and "Parameters". The same image
and metadata give the same bytes.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from PIL import ExifTags, Image, PngImagePlugin

from milimo_image import defaults
from milimo_image.request import ImageFormat

if TYPE_CHECKING:
    from collections.abc import Mapping

_SOFTWARE = "Milimo"
# EXIF: eight bytes name the encoding of a UserComment; zeros leave it undefined, and then it is UTF-8 here.
_COMMENT_PREFIX = bytes(8)
# A JPEG segment holds 65,533 bytes, of which the EXIF structure takes some.
_MAX_EXIF_BYTES = 65_000
_LEFT_OUT = ("negative_prompt", "original_prompt")


@dataclass(frozen=True, kw_only=True)
class ImageMetadata:
    """What an image was made from. `parameters` are JSON values by name: seed, steps, model, …"""

    prompt: str
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, kw_only=True)
class EncodedImage:
    """An image file."""

    data: bytes
    media_type: str
    extension: str  # with its dot
    width: int
    height: int


def encode_image(image: Image.Image, metadata: ImageMetadata, image_format: ImageFormat) -> EncodedImage:
    """The image as a file of that format: JPEG of quality 95 without chroma subsampling, or lossless PNG.

    Prompts hold no NUL (the plan sees to it). A JPEG cannot hold several prompts of the maximum length in the widest
    scripts: then "negative_prompt" and "original_prompt" are left out of its parameters.
    """
    buffer = io.BytesIO()
    if image_format is ImageFormat.PNG:
        image.save(buffer, "PNG", pnginfo=_png_text(metadata))
        media_type, extension = "image/png", ".png"
    else:
        image.save(buffer, "JPEG", quality=defaults.JPEG_QUALITY, subsampling="4:4:4", exif=_exif(metadata))
        media_type, extension = "image/jpeg", ".jpg"
    return EncodedImage(
        data=buffer.getvalue(), media_type=media_type, extension=extension, width=image.width, height=image.height
    )


def encode_thumbnail(image: Image.Image) -> EncodedImage:
    """A JPEG of a quarter of the width and height, rounded up, without metadata."""
    size = (-(-image.width // defaults.THUMBNAIL_DIVISOR), -(-image.height // defaults.THUMBNAIL_DIVISOR))
    small = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=defaults.THUMBNAIL_QUALITY)
    return EncodedImage(
        data=buffer.getvalue(), media_type="image/jpeg", extension=".jpg", width=size[0], height=size[1]
    )


def read_metadata(data: bytes) -> ImageMetadata | None:
    """The metadata of a file that `encode_image` wrote; `None` when there are none. Not for files from outside."""
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
        if isinstance(image, PngImagePlugin.PngImageFile):
            prompt, parameters = image.text.get("Description"), image.text.get("Parameters")
        else:
            exif = image.getexif()
            prompt = _decode_exif_text(exif.get(ExifTags.Base.ImageDescription))
            comment = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
            parameters = comment[len(_COMMENT_PREFIX) :].decode() if comment else None
    if prompt is None or parameters is None:
        return None
    return ImageMetadata(prompt=prompt, parameters=json.loads(parameters))


def _png_text(metadata: ImageMetadata) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("Software", _SOFTWARE)
    info.add_itxt("Description", metadata.prompt)
    info.add_itxt("Parameters", _json(metadata.parameters))
    return info


def _exif(metadata: ImageMetadata) -> Image.Exif:
    parameters = dict(metadata.parameters)
    if len(metadata.prompt.encode()) + len(_json(parameters).encode()) > _MAX_EXIF_BYTES:
        for name in _LEFT_OUT:
            parameters.pop(name, None)
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = _SOFTWARE
    # Bytes, since Pillow writes text as ASCII; EXIF 3.0 admits UTF-8 here, and readers take it so.
    exif[ExifTags.Base.ImageDescription] = metadata.prompt.encode()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = _COMMENT_PREFIX + _json(parameters).encode()
    return exif


def _decode_exif_text(value: str | bytes | None) -> str | None:
    if isinstance(value, str):  # Pillow reads these bytes as Latin-1
        return value.encode("latin-1").decode()
    return None if value is None else value.decode()


def _json(parameters: Mapping[str, str | int | float | bool]) -> str:
    return json.dumps(dict(parameters), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
