"""Files from outside: what is accepted, what is told of it, and what is refused without harm."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from milimo.v1 import assets_pb2
from milimo_runtime.assets import AssetKind
from milimo_runtime.errors import InvalidArgument
from milimo_runtime.limits import UPLOAD_BYTES
from milimo_runtime.media import MediaStore
from milimo_storyboard import uploads
from milimo_storyboard.asset_service import AssetService
from milimo_storyboard.uploads import check_size, inspect_upload
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from milimo_runtime.database import Database

RATE = 25
SAMPLES = 48_000
FRAMES = 15


def image(form: str, size: tuple[int, int] = (40, 24)) -> bytes:
    data = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(data, form)
    return data.getvalue()


def video(form: str, codec: str, options: dict[str, str] | None = None, frames: int = FRAMES) -> bytes:
    # The index comes first only in a file that FFmpeg can open again.
    with tempfile.NamedTemporaryFile() as file:
        with av.open(file.name, "w", format=form, options=options or {}) as container:
            stream = container.add_stream(codec, rate=RATE)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in range(frames):
                # Noise does not compress: a truncated file loses frames.
                pixels = np.random.default_rng(number).integers(0, 255, (48, 64, 3), dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
        return Path(file.name).read_bytes()


def sound(form: str, codec: str, layout: str = "mono", cover: bytes = b"") -> bytes:
    data = io.BytesIO()
    with av.open(data, "w", format=form) as container:
        stream = container.add_stream(codec, rate=SAMPLES, layout=layout)
        if cover:
            picture = container.add_stream("png", rate=1)
            picture.width, picture.height, picture.pix_fmt = 40, 24, "rgb24"
            picture.disposition = av.stream.Disposition.attached_pic
        samples = (np.sin(np.arange(SAMPLES // 2) / 20) * 8000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLES
        frame.time_base = Fraction(1, SAMPLES)
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=SAMPLES, frame_size=stream.frame_size)
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(piece))
        container.mux(stream.encode())
        if cover:
            packet = av.Packet(cover)
            packet.stream = picture
            packet.pts = packet.dts = 0
            container.mux(packet)
    return data.getvalue()


MP4 = video("mp4", "libx264", {"movflags": "faststart"})
WEBM = video("webm", "libvpx")


def inspect(tmp_path: Path, data: bytes) -> tuple[uploads.MediaFacts, Image.Image | None]:
    path = tmp_path / "upload"
    path.write_bytes(data)
    return inspect_upload(path)


def refused(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(InvalidArgument) as caught:
        inspect(tmp_path, data)
    assert caught.value.violations[0].field == "content"
    return caught.value.reason


@pytest.mark.parametrize(
    ("form", "media_type", "extension"),
    [("PNG", "image/png", "png"), ("JPEG", "image/jpeg", "jpg"), ("WEBP", "image/webp", "webp")],
)
def test_images(tmp_path: Path, form: str, media_type: str, extension: str) -> None:
    facts, picture = inspect(tmp_path, image(form))
    assert (facts.kind, facts.media_type, facts.extension) == (AssetKind.IMAGE, media_type, extension)
    assert (facts.width, facts.height, facts.num_frames) == (40, 24, 1)
    assert picture is not None
    assert picture.size == (10, 6)


@pytest.mark.parametrize(
    ("data", "media_type", "extension"),
    [
        (MP4, "video/mp4", "mp4"),
        (video("mp4", "libx264"), "video/mp4", "mp4"),
        (video("mov", "libx264"), "video/quicktime", "mov"),
        (WEBM, "video/webm", "webm"),
    ],
    ids=["mp4, index first", "mp4, index last", "mov", "webm"],
)
def test_videos(tmp_path: Path, data: bytes, media_type: str, extension: str) -> None:
    facts, picture = inspect(tmp_path, data)
    assert (facts.kind, facts.media_type, facts.extension) == (AssetKind.VIDEO, media_type, extension)
    assert (facts.width, facts.height, facts.num_frames, facts.fps) == (64, 48, FRAMES, RATE)
    assert facts.duration_seconds == pytest.approx(FRAMES / RATE)
    assert picture is not None
    assert picture.size == (16, 12)


@pytest.mark.parametrize(
    ("data", "media_type", "extension"),
    [
        (sound("wav", "pcm_s16le"), "audio/wav", "wav"),
        (sound("flac", "flac"), "audio/flac", "flac"),
        (sound("ogg", "libopus", "stereo"), "audio/ogg", "ogg"),
        (sound("mp3", "libmp3lame"), "audio/mpeg", "mp3"),
        (sound("mp3", "libmp3lame", cover=image("PNG")), "audio/mpeg", "mp3"),
        (sound("mp4", "aac"), "audio/mp4", "mp4"),
    ],
    ids=["wav", "flac", "ogg", "mp3", "mp3 with a cover", "mp4"],
)
def test_sounds(tmp_path: Path, data: bytes, media_type: str, extension: str) -> None:
    facts, picture = inspect(tmp_path, data)
    assert (facts.kind, facts.media_type, facts.extension) == (AssetKind.AUDIO, media_type, extension)
    assert (facts.width, facts.height, facts.num_frames, facts.fps) == (0, 0, 0, 0)
    assert facts.duration_seconds == pytest.approx(0.5, abs=0.1)
    assert picture is None


def test_mp3_frames_without_a_tag(tmp_path: Path) -> None:
    data = sound("mp3", "libmp3lame")
    start = next(index for index in range(len(data)) if data[index] == 0xFF and data[index + 1] & 0xE6 == 0xE2)
    assert inspect(tmp_path, data[start:])[0].media_type == "audio/mpeg"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_images(tmp_path: Path, form: str, share: float) -> None:
    data = image(form, (200, 160))
    assert refused(tmp_path, data[: int(len(data) * share)]) in {"IMAGE_DAMAGED", "IMAGE_FORMAT_UNSUPPORTED"}


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9])
def test_truncated_videos(tmp_path: Path, share: float) -> None:
    assert refused(tmp_path, MP4[: int(len(MP4) * share)]) == "MEDIA_DAMAGED"


@pytest.mark.parametrize("share", [0.001, 0.01])
def test_headers_alone(tmp_path: Path, share: float) -> None:
    for data in (WEBM, sound("flac", "flac"), sound("ogg", "libopus", "stereo")):
        assert refused(tmp_path, data[: max(64, int(len(data) * share))]) == "MEDIA_DAMAGED"


def png_of(width: int, height: int) -> bytes:
    """A few bytes that announce a huge picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(tmp_path, png_of(100_000, 100_000)) == "IMAGE_TOO_LARGE"
    monkeypatch.setattr(uploads, "VIDEO_SIDE", 63)
    assert refused(tmp_path, MP4) == refused(tmp_path, WEBM) == "VIDEO_TOO_LARGE"
    monkeypatch.setattr(uploads, "VIDEO_SIDE", 64)
    monkeypatch.setattr(uploads, "VIDEO_FRAMES", FRAMES - 1)
    assert refused(tmp_path, MP4) == refused(tmp_path, WEBM) == "VIDEO_TOO_LARGE"
    monkeypatch.setattr(uploads, "_IMAGE_FILE_BYTES", 10)
    assert refused(tmp_path, image("PNG")) == "UPLOAD_TOO_LARGE"


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "data",
    [
        PLAYLIST,
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"<?xml version='1.0'?><MPD/>",
        b"GIF89a" + b"\0" * 60,
        b"BM" + b"\0" * 60,
        b"%PDF-1.7",
        b"RIFF\0\0\0\0AVI LIST",
        b"\0\0\0\x1cftypavif" + b"\0" * 50,
        b"\0\0\0\x1cftypheic" + b"\0" * 50,
        b"\x1a\x45\xdf\xa3\x42\x82\x88matroska" + b"\0" * 50,
        b"x",
        b"\xff",
        b"\0" * 100,
        b"Ein Text.",
    ],
    ids=lambda data: ascii(data[:12]),
)
def test_other_formats(tmp_path: Path, data: bytes) -> None:
    assert refused(tmp_path, data) == "MEDIA_TYPE_UNSUPPORTED"


@pytest.mark.parametrize("head", [b"\0\0\0\x1cftypisom", b"ID3\x04", b"OggS", b"fLaC", b"RIFF\0\0\0\0WAVE"])
def test_a_playlist_behind_another_formats_head(tmp_path: Path, head: bytes) -> None:
    """The demuxer is named: nobody guesses that the rest is a playlist, and opens what it names."""
    assert refused(tmp_path, head + b"\n" + PLAYLIST) == "MEDIA_DAMAGED"


def test_moving_pictures_in_a_sound_container(tmp_path: Path) -> None:
    assert refused(tmp_path, video("ogg", "libvpx")) in {"MEDIA_TYPE_UNSUPPORTED", "MEDIA_DAMAGED"}


def test_nothing(tmp_path: Path) -> None:
    assert refused(tmp_path, b"") == "INVALID_FIELD"


def test_sizes() -> None:
    check_size(UPLOAD_BYTES, field="content")
    with pytest.raises(InvalidArgument) as caught:
        check_size(UPLOAD_BYTES + 1, field="size_bytes")
    assert (caught.value.reason, caught.value.violations[0].field) == ("UPLOAD_TOO_LARGE", "size_bytes")


async def test_what_comes_without_a_size_is_counted(
    database: Database, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "UPLOAD_BYTES", 10_000)
    service = AssetService(database, MediaStore((tmp_path / "media").as_uri()), tmp_path / "scratch")
    asked = 0

    async def endless() -> AsyncIterator[assets_pb2.UploadAssetRequest]:
        nonlocal asked
        while True:
            asked += 1
            request = assets_pb2.UploadAssetRequest(project_id=project)
            request.content.data = bytes(1000)
            yield request

    requests = endless()
    with pytest.raises(InvalidArgument) as caught:
        await service.UploadAsset(requests, None)
    await requests.aclose()
    assert (caught.value.reason, asked) == ("UPLOAD_TOO_LARGE", 11)
    assert list((tmp_path / "scratch").iterdir()) == []
