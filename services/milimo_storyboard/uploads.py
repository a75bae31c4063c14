"""Files that come from outside: received under a limit, decoded before they are believed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from milimo_runtime.assets import AssetKind, MediaFacts
from milimo_runtime.errors import InvalidArgument
from milimo_runtime.images import decode_image
from milimo_runtime.limits import UPLOAD_BYTES, VIDEO_FRAMES, VIDEO_SIDE

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream
    from PIL.Image import Image

# Enough of a file to tell what it is.
_HEAD_BYTES: Final = 64
# No image within the pixel limit needs more, but for pathological PNGs.
_IMAGE_FILE_BYTES: Final = 512 * 1024**2
_THUMBNAIL_SHARE: Final = 4

_IMAGES: Final = ((b"\x89PNG\r\n\x1a\n", "image/png", "png"), (b"\xff\xd8\xff", "image/jpeg", "jpg"))
_SOUNDS: Final = (
    (b"fLaC", "audio/flac", "flac"),
    (b"OggS", "audio/ogg", "ogg"),
    (b"ID3", "audio/mpeg", "mp3"),
)
# The first atom of an MP4 or MOV file; the oldest MOV files have no "ftyp".
_ATOMS: Final = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"})
# "ftyp" brands of still images.
_STILLS: Final = frozenset({b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"})
# Containers that PyAV may open: naming them keeps FFmpeg from guessing playlists and other formats that open files.
_DEMUXERS: Final = {
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "video/webm": "matroska",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/mpeg": "mp3",
}


def check_size(size: int, *, field: str) -> None:
    """Raises InvalidArgument for `field` when a file of `size` bytes is above the limit."""
    if size > UPLOAD_BYTES:
        raise InvalidArgument(
            field,
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
    if head[4:8] in _ATOMS and head[8:12] not in _STILLS:
        return ("video/quicktime", "mov") if head[4:8] != b"ftyp" or head[8:12] == b"qt  " else ("video/mp4", "mp4")
    if head.startswith(b"\x1a\x45\xdf\xa3") and b"webm" in head:
        return "video/webm", "webm"
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        return "audio/wav", "wav"
    for magic, media_type, extension in _SOUNDS:
        if head.startswith(magic):
            return media_type, extension
    # The header of an MPEG frame of layer III, of any version, with or without a checksum.
    if head[0] == 0xFF and len(head) > 1 and head[1] & 0xE6 == 0xE2:
        return "audio/mpeg", "mp3"
    raise InvalidArgument(
        "content",
        "is not a PNG, JPEG, WebP, MP4, MOV, WebM, WAV, FLAC, MP3 or OGG file",
        reason="MEDIA_TYPE_UNSUPPORTED",
    )


def _inspect_image(path: Path, media_type: str, extension: str) -> tuple[MediaFacts, Image]:
    if path.stat().st_size > _IMAGE_FILE_BYTES:
        raise InvalidArgument("content", "is too large for an image file", reason="UPLOAD_TOO_LARGE")
    image = decode_image(path, field="content")
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

    try:
        with av.open(str(path), format=_DEMUXERS[media_type]) as container:
            # The cover of a sound file is a video stream of one picture.
            pictures = [
                stream
                for stream in container.streams.video
                if not stream.disposition & av.stream.Disposition.attached_pic
            ]
            if not pictures:
                return _sound(container, media_type, extension), None
            return _film(container, pictures[0], media_type, extension)
    except (av.FFmpegError, StopIteration, ValueError) as error:
        raise InvalidArgument("content", f"is damaged: {error}", reason="MEDIA_DAMAGED") from error


def _film(container: InputContainer, stream: VideoStream, media_type: str, extension: str) -> tuple[MediaFacts, Image]:
    if not media_type.startswith("video/"):
        raise InvalidArgument(
            "content", "holds moving pictures; they are accepted as MP4, MOV or WebM", reason="MEDIA_TYPE_UNSUPPORTED"
        )
    # Before anything is decoded: a small file can announce pictures that fill the memory.
    _check_video(stream.width, stream.height, stream.frames)
    frame = next(container.decode(stream))
    _check_video(frame.width, frame.height, stream.frames)
    picture = frame.to_image()
    container.seek(0)
    frames = 0
    for packet in container.demux(stream):
        # The last packet is empty: it flushes the decoder.
        if packet.size:
            frames += 1
            _check_video(frame.width, frame.height, frames)
    if frames < stream.frames:
        raise InvalidArgument(
            "content", f"is truncated: {frames} of {stream.frames} frames are there", reason="MEDIA_DAMAGED"
        )
    rate = float(stream.average_rate or 0)
    facts = MediaFacts(
        kind=AssetKind.VIDEO,
        media_type=media_type,
        extension=extension,
        width=picture.width,
        height=picture.height,
        num_frames=frames,
        fps=rate,
        duration_seconds=frames / rate if rate else _duration(container),
    )
    return facts, _small(picture)


def _check_video(width: int, height: int, frames: int) -> None:
    if max(width, height) > VIDEO_SIDE or frames > VIDEO_FRAMES:
        raise InvalidArgument(
            "content",
            f"has {width} × {height} pixels and {frames} frames or more; "
            f"at most {VIDEO_SIDE} pixels a side and {VIDEO_FRAMES} frames are accepted",
            reason="VIDEO_TOO_LARGE",
        )


def _sound(container: InputContainer, media_type: str, extension: str) -> MediaFacts:
    if not container.streams.audio:
        raise InvalidArgument("content", "holds neither pictures nor sound", reason="MEDIA_DAMAGED")
    next(container.decode(container.streams.audio[0]))
    return MediaFacts(
        kind=AssetKind.AUDIO,
        media_type=media_type.replace("video/", "audio/"),
        extension=extension,
        duration_seconds=_duration(container),
    )


def _duration(container: InputContainer) -> float:
    """Seconds; 0 when the container does not tell."""
    return (container.duration or 0) / 1_000_000


def _small(image: Image) -> Image:
    """A quarter of the size, at least one pixel a side."""
    size = (max(1, image.width // _THUMBNAIL_SHARE), max(1, image.height // _THUMBNAIL_SHARE))
    return (image if image.mode == "RGB" else image.convert("RGB")).resize(size)
