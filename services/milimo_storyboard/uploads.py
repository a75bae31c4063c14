"""Files that come from outside: received under a limit, decoded before they are believed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from milimo_runtime.assets import AssetKind, MediaFacts
from milimo_runtime.errors import InvalidArgument
from milimo_runtime.images import decode_image
from milimo_runtime.limits import UPLOAD_BYTES, VIDEO_FRAMES, VIDEO_SIDE

if TYPE_CHECKING:
    from PIL.Image import Image

# Enough of a file to tell what it is.
_HEAD_BYTES: Final = 64
# An image file is read as a whole; none within the pixel limit needs more, but for pathological PNGs.
_IMAGE_FILE_BYTES: Final = 512 * 1024**2
_THUMBNAIL_SHARE: Final = 4

_IMAGES: Final = ((b"\x89PNG\r\n\x1a\n", "image/png", "png"), (b"\xff\xd8\xff", "image/jpeg", "jpg"))
_SOUNDS: Final = (
    (b"fLaC", "audio/flac", "flac"),
    (b"OggS", "audio/ogg", "ogg"),
    (b"ID3", "audio/mpeg", "mp3"),
    (b"\xff\xfb", "audio/mpeg", "mp3"),
    (b"\xff\xf3", "audio/mpeg", "mp3"),
)
# Containers that PyAV may open: naming them keeps FFmpeg from guessing playlists and other formats that open files.
_DEMUXERS: Final = {
    "video/mp4": "mov",
    "video/webm": "matroska",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/mpeg": "mp3",
}


def check_declared_size(size: int) -> None:
    """Raises InvalidArgument when a file of `size` bytes is above the limit."""
    if size > UPLOAD_BYTES:
        raise InvalidArgument(
            "content",
            f"is larger than {UPLOAD_BYTES // 1024**3} GiB, the limit of an upload",
            reason="UPLOAD_TOO_LARGE",
        )


def inspect_upload(path: Path) -> tuple[MediaFacts, Image | None]:
    """Decodes the file at `path` and tells what it is, with a small picture of it where it has one.

    Raises:
        InvalidArgument: it is of no accepted format, damaged, or above a limit.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise InvalidArgument("content", "is empty")
    image = _image_type(head)
    if image is not None:
        return _inspect_image(path, *image)
    return _inspect_stream(path, *_stream_type(head))


def _image_type(head: bytes) -> tuple[str, str] | None:
    for magic, media_type, extension in _IMAGES:
        if head.startswith(magic):
            return media_type, extension
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp", "webp"
    return None


def _stream_type(head: bytes) -> tuple[str, str]:
    if head[4:8] == b"ftyp":
        return "video/mp4", "mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video/webm", "webm"
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        return "audio/wav", "wav"
    for magic, media_type, extension in _SOUNDS:
        if head.startswith(magic):
            return media_type, extension
    raise InvalidArgument(
        "content",
        "is not a PNG, JPEG, WebP, MP4, MOV, WebM, WAV, FLAC, MP3 or OGG file",
        reason="MEDIA_TYPE_UNSUPPORTED",
    )


def _inspect_image(path: Path, media_type: str, extension: str) -> tuple[MediaFacts, Image]:
    if path.stat().st_size > _IMAGE_FILE_BYTES:
        raise InvalidArgument("content", "is too large for an image file", reason="UPLOAD_TOO_LARGE")
    image = decode_image(path.read_bytes(), field="content")
    facts = MediaFacts(
        kind=AssetKind.IMAGE,
        media_type=media_type,
        extension=extension,
        width=image.width,
        height=image.height,
        num_frames=1,
    )
    return facts, _small(image)


def _inspect_stream(path: Path, media_type: str, extension: str) -> tuple[MediaFacts, Image | None]:
    # PyAV takes a tenth of a second and 40 MB to import: only who uploads a video pays for it.
    import av

    demuxer = _DEMUXERS[media_type]
    try:
        with av.open(str(path), format=demuxer) as container:
            if not container.streams.video:
                return _sound(container, media_type, extension), None
            stream = container.streams.video[0]
            frame = next(container.decode(stream))
            picture = frame.to_image()
            rate = float(stream.average_rate or 0)
            frames = stream.frames or sum(1 for packet in container.demux(stream) if packet.size) + 1
            duration = frames / rate if rate else float((container.duration or 0) / av.time_base)
    except (av.FFmpegError, StopIteration, ValueError) as error:
        raise InvalidArgument("content", f"is damaged: {error}", reason="MEDIA_DAMAGED") from error
    if max(picture.size) > VIDEO_SIDE or frames > VIDEO_FRAMES:
        raise InvalidArgument(
            "content",
            f"has {picture.width} × {picture.height} pixels and {frames} frames; "
            f"at most {VIDEO_SIDE} pixels a side and {VIDEO_FRAMES} frames are accepted",
            reason="VIDEO_TOO_LARGE",
        )
    facts = MediaFacts(
        kind=AssetKind.VIDEO,
        media_type=media_type,
        extension=extension,
        width=picture.width,
        height=picture.height,
        num_frames=frames,
        fps=rate,
        duration_seconds=duration,
    )
    return facts, _small(picture)


def _sound(container: object, media_type: str, extension: str) -> MediaFacts:
    import av

    assert isinstance(container, av.container.InputContainer)
    if not container.streams.audio:
        raise InvalidArgument("content", "holds neither pictures nor sound", reason="MEDIA_DAMAGED")
    next(container.decode(container.streams.audio[0]))
    duration = (container.duration or 0) / av.time_base
    media_type = media_type.replace("video/", "audio/")
    return MediaFacts(
        kind=AssetKind.AUDIO, media_type=media_type, extension=extension, duration_seconds=float(duration)
    )


def _small(image: Image) -> Image:
    """A quarter of the size, at least one pixel a side."""
    size = (max(1, image.width // _THUMBNAIL_SHARE), max(1, image.height // _THUMBNAIL_SHARE))
    return image.convert("RGB").resize(size)
