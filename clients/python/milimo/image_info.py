"""What an image was made from, read out of its file: the prompt and the parameters that Milimo wrote into it.

JPEG has the prompt in EXIF ImageDescription and the parameters as JSON in EXIF UserComment; PNG has them in the iTXt
chunks "Description" and "Parameters". Read without an imaging library; the pixels are not looked at.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8"
_EXIF: Final = b"Exif\0\0"
_START_OF_SCAN: Final = 0xDA
_APP1: Final = 0xE1
# EXIF tags.
_IMAGE_DESCRIPTION: Final = 0x010E
_EXIF_FOLDER: Final = 0x8769
_USER_COMMENT: Final = 0x9286
# Bytes of a value of each EXIF type.
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8}
# A UserComment begins with the name of its encoding.
_ENCODING_NAME: Final = 8
# Chunks that may hold text are not larger: two prompts of the longest kind.
_MAX_TEXT: Final = 1024**2


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """The prompt, and JSON values by name: seed, width, height, steps, …"""

    prompt: str
    parameters: Mapping[str, Any]


def read_image_info(path: Path) -> ImageInfo | None:
    """What the file says of its making; `None` when it says nothing or is damaged. Raises OSError."""
    data = path.read_bytes()
    try:
        texts = _png_texts(data) if data.startswith(_PNG) else _jpeg_texts(data)
        prompt, parameters = texts
        if prompt is None or parameters is None:
            return None
        value = json.loads(parameters.decode())
        return ImageInfo(prompt=prompt.decode(), parameters=value) if isinstance(value, dict) else None
    except (ValueError, struct.error, RecursionError):
        return None


def _png_texts(data: bytes) -> tuple[bytes | None, bytes | None]:
    found: dict[bytes, bytes] = {}
    for kind, body in _png_chunks(data):
        if kind == b"iTXt" and len(body) <= _MAX_TEXT:
            keyword, _, rest = body.partition(b"\0")
            # Two bytes tell the compression, which is off; language and translated keyword end with a NUL.
            if rest[:1] == b"\0":
                found[keyword] = rest[2:].split(b"\0", 2)[-1]
    return found.get(b"Description"), found.get(b"Parameters")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(_PNG)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        # Length, kind and checksum take twelve bytes.
        position += 12 + length


def _jpeg_texts(data: bytes) -> tuple[bytes | None, bytes | None]:
    for kind, body in _jpeg_segments(data):
        if kind == _APP1 and body.startswith(_EXIF):
            tiff = body[len(_EXIF) :]
            order = ">" if tiff.startswith(b"MM") else "<"
            (first,) = struct.unpack_from(f"{order}I", tiff, 4)
            tags = _tags(tiff, order, first)
            (folder,) = struct.unpack(f"{order}I", tags.get(_EXIF_FOLDER, bytes(4)))
            comment = _tags(tiff, order, folder).get(_USER_COMMENT) if folder else None
            prompt = tags.get(_IMAGE_DESCRIPTION)
            return prompt and prompt.rstrip(b"\0"), comment and comment[_ENCODING_NAME:]
    return None, None


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = len(_JPEG) if data.startswith(_JPEG) else len(data)
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != _START_OF_SCAN:
        (length,) = struct.unpack_from(">H", data, position + 2)
        yield data[position + 1], data[position + 4 : position + 2 + length]
        position += 2 + length


def _tags(tiff: bytes, order: str, offset: int) -> dict[int, bytes]:
    """The values of a folder of tags, as they stand there."""
    (count,) = struct.unpack_from(f"{order}H", tiff, offset)
    values = {}
    for index in range(count):
        start = offset + 2 + 12 * index
        tag, kind, number = struct.unpack_from(f"{order}HHI", tiff, start)
        size = _SIZES.get(kind, 1) * number
        where = start + 8
        if size > 4:
            (where,) = struct.unpack_from(f"{order}I", tiff, where)
        values[tag] = tiff[where : where + size]
    return values
