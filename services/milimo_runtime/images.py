"""Decoding of images that came from outside: any bytes in, an upright RGB image or an error about a field out."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from milimo_runtime.errors import InvalidArgument

# One megapixel is 10⁶ pixels. The bound of Pillow's own bomb check (a process-wide setting) lies above it.
MAX_IMAGE_PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "WEBP")

# What Pillow's decoders raise for damaged files, found by fuzzing. Anything else is a defect and is not hidden.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error, OverflowError)

# `warnings.catch_warnings` changes the process's filters: two threads inside it at once could leave them changed.
_WARNINGS = threading.Lock()


def decode_image(data: bytes, *, field: str, max_pixels: int = MAX_IMAGE_PIXELS) -> Image.Image:
    """Decodes PNG, JPEG or WebP into a new RGB image of 8 bits per channel, as its viewer would see it.

    The EXIF orientation is applied; colours of an embedded ICC profile become sRGB; transparent parts are laid over
    white; 16-bit grey is scaled to 8 bits; of an animation the first frame is taken. The size is checked before any
    pixel is decoded. The result carries no metadata.

    Raises `InvalidArgument` for `field`: no image or another format, a damaged or truncated file, more than
    `max_pixels` pixels.
    """
    if not data:
        raise InvalidArgument(field, "is empty; expected a PNG, JPEG or WebP image")
    try:
        image = _open(data)
        width, height = image.size
        if width * height > max_pixels:
            raise InvalidArgument(
                field,
                f"has {width} × {height} pixels; at most {max_pixels / 1e6:g} megapixels are accepted",
                reason="IMAGE_TOO_LARGE",
            )
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


def _open(data: bytes) -> Image.Image:
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged EXIF, large images: both are dealt with here
        return Image.open(io.BytesIO(data), formats=FORMATS)


def _upright_rgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged EXIF
        image = ImageOps.exif_transpose(image)
    flat = _flatten(image)
    rgb = _to_srgb(flat, profile) if profile else None
    rgb = rgb or flat.convert("RGB")
    # A fresh image: nothing of the file (EXIF, comments, profiles) travels on.
    result = Image.new("RGB", rgb.size)
    result.paste(rgb)
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


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    """The image in sRGB, or `None` when the profile is damaged or made for another kind of image."""
    try:
        return ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
