"""Decoding of images that came from outside: any bytes in, an upright RGB image or an error about a field out."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from milimo_runtime.errors import InvalidArgument
from milimo_runtime.limits import IMAGES_AT_ONCE

# One megapixel is 10⁶ pixels. The bound of Pillow's own bomb check (a process-wide setting) lies above it.
MAX_IMAGE_PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "WEBP")

# What Pillow's decoders raise for damaged files, found by fuzzing. Anything else is a defect and is not hidden.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error, OverflowError)

# `warnings.catch_warnings` changes the process's filters: two threads inside it at once could leave them changed.
_WARNINGS = threading.Lock()

# Of the whole process: an image of 64 megapixels takes about 10 bytes per pixel while it is decoded.
_DECODING = threading.BoundedSemaphore(IMAGES_AT_ONCE)

# Rows are converted in strips of so many pixels, so that what lies between the file and the result stays small.
_STRIP_PIXELS = 1_000_000


def decode_image(source: bytes | Path, *, field: str, max_pixels: int = MAX_IMAGE_PIXELS) -> Image.Image:
    """Decodes PNG, JPEG or WebP into a new RGB image of 8 bits per channel, as its viewer would see it.

    The EXIF orientation is applied; colours of an embedded ICC profile become sRGB; transparent parts are laid over
    white; 16-bit grey is scaled to 8 bits; of an animation the first frame is taken. The size is checked before any
    pixel is decoded. The result carries no metadata. `source` is the file's content, or its path: then the file is not
    read as a whole. Waits while other threads of the process decode, so many that memory would not bear one more.

    Raises `InvalidArgument` for `field`: no image or another format, a damaged or truncated file, more than
    `max_pixels` pixels.
    """
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
        return _decode(file, field, max_pixels)


def _decode(file: BinaryIO, field: str, max_pixels: int) -> Image.Image:
    if not file.read(1):
        raise InvalidArgument(field, "is empty; expected a PNG, JPEG or WebP image")
    file.seek(0)
    try:
        image = _open(file)
        width, height = image.size
        if width * height > max_pixels:
            raise InvalidArgument(
                field,
                f"has {width} × {height} pixels; at most {max_pixels / 1e6:g} megapixels are accepted",
                reason="IMAGE_TOO_LARGE",
            )
        with _DECODING:
            image.load()
            return _upright_rgb(image)
    except Image.DecompressionBombError as error:
        raise InvalidArgument(
            field, f"has more than {max_pixels / 1e6:g} megapixels", reason="IMAGE_TOO_LARGE"
        ) from error
    except UnidentifiedImageError as error:
        raise InvalidArgument(field, "is not a PNG, JPEG or WebP image", reason="IMAGE_FORMAT_UNSUPPORTED") from error
    except _DAMAGED as error:
        raise InvalidArgument(field, f"is damaged or truncated: {error}", reason="IMAGE_DAMAGED") from error


def _open(file: BinaryIO) -> Image.Image:
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged EXIF, large images: both are dealt with here
        return Image.open(file, formats=FORMATS)


def _upright_rgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged EXIF
        ImageOps.exif_transpose(image, in_place=True)
    # A fresh image: nothing of the file (EXIF, comments, profiles) travels on.
    result = Image.new("RGB", image.size)
    to_srgb: ImageCms.ImageCmsTransform | None = None
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = _flatten(image.crop((0, top, image.width, min(top + rows, image.height))))
        if profile and top == 0:
            to_srgb = _srgb_transform(strip.mode, profile)
        rgb = _in_srgb(strip, to_srgb) if to_srgb else None
        result.paste(rgb or strip.convert("RGB"), (0, top))
    return result


def _flatten(image: Image.Image) -> Image.Image:
    """The image without transparency, in a mode with 8 bits per channel."""
    if image.mode.startswith("I"):
        # 16-bit grey, which Pillow's own conversion clips instead of scaling.
        return image.convert("I").point(lambda value: value * (1 / 256), "L")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, "white")
        return Image.alpha_composite(white, over).convert("RGB")
    if image.mode in ("1", "P"):
        return image.convert("RGB")
    return image


def _srgb_transform(mode: str, profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """From the profile's colours to sRGB, or `None` when it is damaged or made for another kind of image."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _in_srgb(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image | None:
    """The image in sRGB, or `None` when the transform does not fit it."""
    try:
        return ImageCms.applyTransform(image, transform)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
