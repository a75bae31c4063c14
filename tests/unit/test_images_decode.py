"""Decoding of images from outside: limits, damage, orientation, colours."""

from __future__ import annotations

import io
import random
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from milimo_runtime import images
from milimo_runtime.errors import InvalidArgument
from milimo_runtime.images import MAX_IMAGE_PIXELS, decode_image
from PIL import ExifTags, Image, ImageCms, ImageOps

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))
# 2 × 3 pixels that no rotation or reflection maps to itself.
LETTERS = Image.new("RGB", (2, 3))
LETTERS.putdata([(10, 0, 0), (20, 0, 0), (30, 0, 0), (40, 0, 0), (50, 0, 0), (60, 0, 0)])


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels worth speaking of."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("format_", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_come_back_exactly(format_: str, options: dict[str, object]) -> None:
    image = decode_image(encoded(NOISE, format_, **options), field="image")
    assert image.mode == "RGB"
    assert image.tobytes() == NOISE.tobytes()


def test_jpeg_comes_back_as_pillow_decodes_it() -> None:
    data = encoded(NOISE, "JPEG")
    assert decode_image(data, field="image").tobytes() == Image.open(io.BytesIO(data)).tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_orientation_is_applied(orientation: int, format_: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"lossless": True} if format_ == "WEBP" else {}
    image = decode_image(encoded(LETTERS, format_, exif=exif, **options), field="image")
    # By the definition of the tag: which corner the first row and the first column lie at.
    upright = {
        1: [10, 20, 30, 40, 50, 60],
        2: [20, 10, 40, 30, 60, 50],
        3: [60, 50, 40, 30, 20, 10],
        4: [50, 60, 30, 40, 10, 20],
        5: [10, 30, 50, 20, 40, 60],
        6: [50, 30, 10, 60, 40, 20],
        7: [60, 40, 20, 50, 30, 10],
        8: [20, 40, 60, 10, 30, 50],
    }[orientation]
    assert image.size == ((2, 3) if orientation <= 4 else (3, 2))
    assert np.asarray(image)[..., 0].flatten().tolist() == upright
    assert image.getexif().get(ExifTags.Base.Orientation) is None


def palette_with_transparency() -> Image.Image:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    image.info["transparency"] = bytes([255, 0, 128])
    return image


def grey_16() -> Image.Image:
    return Image.fromarray(np.array([[0, 0x8000, 0xFFFF]], dtype=np.uint16))


def rgba() -> Image.Image:
    image = Image.new("RGBA", (3, 1))
    image.putdata([(255, 0, 0, 255), (0, 255, 0, 0), (0, 0, 255, 128)])
    return image


def grey_with_alpha() -> Image.Image:
    image = Image.new("LA", (3, 1))
    image.putdata([(0, 255), (0, 0), (0, 128)])
    return image


@pytest.mark.parametrize(
    ("image", "pixels"),
    [
        (rgba(), [(255, 0, 0), (255, 255, 255), (127, 127, 255)]),
        (palette_with_transparency(), [(255, 0, 0), (255, 255, 255), (127, 127, 255)]),
        (grey_with_alpha(), [(0, 0, 0), (255, 255, 255), (127, 127, 127)]),
        (grey_16(), [(0, 0, 0), (128, 128, 128), (255, 255, 255)]),
        (Image.new("1", (3, 1), 1), [(255, 255, 255)] * 3),
        (Image.new("L", (3, 1), 77), [(77, 77, 77)] * 3),
    ],
    ids=["alpha", "palette", "grey with alpha", "16-bit", "bits", "grey"],
)
def test_modes_become_rgb(image: Image.Image, pixels: list[tuple[int, int, int]]) -> None:
    decoded = decode_image(encoded(image, "PNG"), field="image")
    assert decoded.mode == "RGB"
    assert np.asarray(decoded)[0].tolist() == [list(pixel) for pixel in pixels]


def test_cmyk_jpeg_keeps_its_colours() -> None:
    red = decode_image(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"), field="image")
    assert red.mode == "RGB"
    assert np.abs(np.asarray(red).astype(int) - [255, 0, 0]).max() <= 3


def test_profiles_are_converted() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = decode_image(encoded(NOISE, "PNG", icc_profile=srgb), field="image")
    assert np.abs(np.asarray(same).astype(int) - np.asarray(NOISE).astype(int)).max() <= 1
    assert "icc_profile" not in same.info
    # sRGB with its first two primaries exchanged: what the file calls red is green.
    exchanged = srgb.replace(b"rXYZ", b"?XYZ").replace(b"gXYZ", b"rXYZ").replace(b"?XYZ", b"gXYZ")
    assert exchanged != srgb
    green = decode_image(encoded(Image.new("RGB", (2, 2), "red"), "PNG", icc_profile=exchanged), field="image")
    assert np.abs(np.asarray(green).astype(int) - [0, 255, 0]).max() <= 2
    # A profile that is none is ignored.
    broken = decode_image(encoded(NOISE, "PNG", icc_profile=b"nonsense"), field="image")
    assert broken.tobytes() == NOISE.tobytes()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "INVALID_FIELD"),
        (b"hello, world", "IMAGE_FORMAT_UNSUPPORTED"),
        (encoded(NOISE, "GIF"), "IMAGE_FORMAT_UNSUPPORTED"),
        (encoded(NOISE, "BMP"), "IMAGE_FORMAT_UNSUPPORTED"),
        (encoded(NOISE, "TIFF"), "IMAGE_FORMAT_UNSUPPORTED"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "IMAGE_FORMAT_UNSUPPORTED"),
        (encoded(NOISE, "PNG")[:-200], "IMAGE_DAMAGED"),
        (encoded(NOISE, "JPEG")[:-200], "IMAGE_DAMAGED"),
        (encoded(NOISE, "WEBP", lossless=True)[:-200], "IMAGE_DAMAGED"),
        (png_header(8000, 8001), "IMAGE_TOO_LARGE"),
        (png_header(60_000, 60_000), "IMAGE_TOO_LARGE"),
        (png_header(12_000, 8_000), "IMAGE_TOO_LARGE"),
        (png_header(100, 100), "IMAGE_DAMAGED"),
    ],
)
def test_what_is_no_image_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        decode_image(data, field="references[2]")
    assert caught.value.violations[0].field == "references[2]"
    assert caught.value.reason == reason


def test_size_limit_is_inclusive() -> None:
    data = encoded(NOISE, "PNG")
    assert decode_image(data, field="image", max_pixels=600).size == (30, 20)
    with pytest.raises(InvalidArgument, match=r"0\.000599 megapixels"):
        decode_image(data, field="image", max_pixels=599)
    assert MAX_IMAGE_PIXELS == 64_000_000


def test_damaged_exif_does_not_matter() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * 100
    data = encoded(NOISE, "JPEG", exif=exif)
    start = data.index(b"Exif\0\0") + 6
    # The offset of the first directory points past the end.
    cut = data[: start + 4] + b"\xff\xff\xff\x7f" + data[start + 8 :]
    assert decode_image(cut, field="image").size == NOISE.size


def test_fuzzed_files_are_decoded_or_refused() -> None:
    """Whatever the bytes: an RGB image or `InvalidArgument`; no warning, no other error."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    files = [encoded(NOISE, format_, exif=exif) for format_ in ("PNG", "JPEG", "WEBP")]
    files += [encoded(NOISE.convert(mode), "PNG") for mode in ("P", "1", "RGBA", "LA")]
    files.append(encoded(NOISE, "JPEG", progressive=True))
    source = random.Random(4)
    outcomes = {"decoded": 0, "refused": 0}
    for _ in range(3000):
        data = bytearray(source.choice(files))
        for _ in range(source.randint(1, 3)):
            position = source.randrange(len(data))
            kind = source.random()
            if kind < 0.6:
                data[position] = source.randrange(256)
            elif kind < 0.8:
                del data[position + 1 :]
            else:
                data[position:position] = source.randbytes(source.randint(1, 8))
        try:
            image = decode_image(bytes(data), field="image", max_pixels=10**6)
        except InvalidArgument:
            outcomes["refused"] += 1
        else:
            assert image.mode == "RGB"
            outcomes["decoded"] += 1
    assert min(outcomes.values()) > 100


def test_orientation_agrees_with_pillow_for_jpeg() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    data = encoded(NOISE, "JPEG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert decode_image(data, field="image").tobytes() == expected.tobytes()


def png_of_rows(width: int, height: int) -> bytes:
    """A large RGBA picture that compresses well."""
    compress = zlib.compressobj(1)
    row = b"\0" + bytes(range(256)) * (width * 4 // 256)
    body = b"".join(compress.compress(row) for _ in range(height)) + compress.flush()

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def memory(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


def test_the_largest_image_takes_less_than_a_gigabyte() -> None:
    data = png_of_rows(8000, 8000)
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    assert decode_image(data, field="image").size == (8000, 8000)
    assert memory("VmHWM") - before < 700_000_000


def test_strips_leave_no_seams() -> None:
    """Conversions that look at pixels one by one give the same for the whole image as strip by strip."""
    size = (1100, 2000)
    assert size[0] * size[1] > 2 * images._STRIP_PIXELS
    noise = np.random.default_rng(3).integers(0, 255, (size[1], size[0], 4), dtype=np.uint8)
    image = Image.fromarray(noise)
    white = Image.new("RGBA", size, "white")
    expected = Image.alpha_composite(white, image).convert("RGB")
    assert decode_image(encoded(image, "PNG", compress_level=1), field="image").tobytes() == expected.tobytes()


def test_a_file_is_decoded_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(encoded(NOISE, "PNG"))
    assert decode_image(path, field="image").tobytes() == NOISE.tobytes()
    path.write_bytes(b"")
    with pytest.raises(InvalidArgument, match="empty"):
        decode_image(path, field="image")


def test_few_are_decoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one place, a second thread waits until the first is done."""
    monkeypatch.setattr(images, "_DECODING", threading.BoundedSemaphore(1))
    data = encoded(NOISE, "PNG")
    decoded = threading.Event()

    def decode() -> None:
        decode_image(data, field="image")
        decoded.set()

    with images._DECODING:
        thread = threading.Thread(target=decode)
        thread.start()
        assert not decoded.wait(0.2)
    thread.join()
    assert decoded.is_set()
