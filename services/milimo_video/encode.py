"""Videos as MP4 files: written while frames arrive, the same bytes for the same input.

H.264 (x264, yuv420p, BT.709) and AAC, the index in front of the data (faststart), a keyframe at least once a second.
Nothing in the file tells when or by which build it was made.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Self

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import Colorspace, VideoReformatter
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

# x264's output depends on its number of threads, so it must not follow the machine's.
# Without the macroblock tree: with AVX-512 it reads memory that nobody wrote, and the same frames give other bytes.
# What x264 makes with it at 18 has about the same size and quality without it at 22.
_X264_OPTIONS = {"preset": "veryfast", "crf": "22", "threads": "4", "mbtree": "0"}
_AUDIO_BIT_RATE = 128_000
# Samples of an AAC frame.
AUDIO_FRAME = 1024
_BT709 = 1
_LIMITED_RANGE = 1
_THUMBNAIL_DIVISOR = 4
_JPEG_QUALITY = 95


def open_mp4(path: Path, *, comment: str, description: str) -> OutputContainer:
    """A new MP4 file with the index in front. `comment` and `description` become the tags of these names."""
    container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"})
    # x264 and swscale log through FFmpeg; the container's tags are the only text of ours in the file.
    container.metadata["comment"] = comment
    container.metadata["description"] = description
    return container


class AudioTrack:
    """The stereo AAC track of a file in the making."""

    def __init__(self, container: OutputContainer, sample_rate: int) -> None:
        """Adds the track to the file; `sample_rate` per second."""
        self._container = container
        self._stream: AudioStream = container.add_stream("aac", rate=sample_rate, layout="stereo")
        self._stream.bit_rate = _AUDIO_BIT_RATE
        self._stream.codec_context.flags |= Flags.bitexact
        self._samples = 0

    def write(self, samples: NDArray[np.float32]) -> None:
        """Appends samples [2, n] in [-1, 1]; n is a multiple of 1024 except in the last call."""
        for start in range(0, samples.shape[1], AUDIO_FRAME):
            block = np.ascontiguousarray(samples[:, start : start + AUDIO_FRAME])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
            frame.sample_rate = self._stream.rate
            frame.pts = self._samples
            frame.time_base = Fraction(1, self._stream.rate)
            self._container.mux(self._stream.encode(frame))
            self._samples += block.shape[1]

    def end(self) -> None:
        """Nothing follows."""
        self._container.mux(self._stream.encode())


class Mp4Writer:
    """Writes one MP4 file of exactly as many frames and samples as it is given.

    A context manager: leaving it normally finishes the file, leaving it by an exception removes it.
    """

    def __init__(
        self, path: Path, *, width: int, height: int, fps: int, sample_rate: int | None, comment: str, description: str
    ) -> None:
        """`width` and `height` are even; `sample_rate` is that of the stereo audio, None for a silent file.

        `comment` and `description` become the tags of these names.
        """
        self._path = path
        self._size = (width, height)
        self._fps = fps
        self._frames = 0
        self._container = open_mp4(path, comment=comment, description=description)
        self._video = self._add_video()
        self._audio = None if sample_rate is None else AudioTrack(self._container, sample_rate)
        # One converter for all frames; a frame's own would be set up anew for each.
        self._reformatter = VideoReformatter()

    def write_frames(self, frames: NDArray[np.uint8]) -> None:
        """Appends RGB frames [n, height, width, 3]."""
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = self._reformatter.reformat(frame, format="yuv420p", dst_colorspace=Colorspace.ITU709)
            frame.pts = self._frames
            frame.time_base = Fraction(1, self._fps)
            self._container.mux(self._video.encode(frame))
            self._frames += 1

    def write_audio(self, samples: NDArray[np.float32]) -> None:
        """Appends stereo samples [2, n] in [-1, 1]; n is a multiple of 1024 except in the last call."""
        assert self._audio is not None, "the file was opened without audio"
        self._audio.write(samples)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._container.mux(self._video.encode())
            if self._audio is not None:
                self._audio.end()
        self._container.close()
        if kind is not None:
            self._path.unlink(missing_ok=True)

    def _add_video(self) -> VideoStream:
        stream = self._container.add_stream("libx264", rate=self._fps, options=dict(_X264_OPTIONS))
        stream.width, stream.height = self._size
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, self._fps)
        context = stream.codec_context
        context.gop_size = self._fps
        context.flags |= Flags.bitexact
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = _LIMITED_RANGE
        return stream


def crop_centre(frames: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """A view of frames [n, H, W, 3] without what is beyond `width` and `height`, the same on both sides."""
    top, left = (frames.shape[1] - height) // 2, (frames.shape[2] - width) // 2
    return frames[:, top : top + height, left : left + width]


def write_thumbnail(frame: NDArray[np.uint8], path: Path) -> None:
    """Writes an RGB frame [H, W, 3] as a JPEG of a quarter of its width and height, at least one pixel each."""
    image = Image.fromarray(frame)
    size = (max(1, image.width // _THUMBNAIL_DIVISOR), max(1, image.height // _THUMBNAIL_DIVISOR))
    image.resize(size, Image.Resampling.LANCZOS).save(path, format="JPEG", quality=_JPEG_QUALITY)


def read_tags(path: Path) -> dict[str, str]:
    """The tags of a media file, such as "comment" and "description"."""
    with av.open(str(path)) as container:
        return dict(container.metadata)
