"""Frames and sound of videos that exist already: read by time, from where they are needed on, and no more than that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from milimo_runtime.errors import InvalidArgument
from milimo_runtime.limits import VIDEO_SIDE

from milimo_video.encode import crop_centre

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

# Times in a file are rounded to its time base: a frame that begins so little later than a moment is shown at it.
_EARLY_S: Final = 0.002
_SOUND_BLOCK: Final = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a frame is brought to a size: scaled to cover `width` × `height`, the centre cut out.

    With `canvas`, a larger (width, height), the edges are repeated around that, so that cutting the centre out of the
    canvas gives it back: the place of a result within the frames of the model.
    """

    width: int
    height: int
    canvas: tuple[int, int] | None = None

    def apply(self, frame: VideoFrame, reformatter: VideoReformatter) -> NDArray[np.uint8]:
        """RGB bytes [height, width, 3] of a decoded frame."""
        scale = max(self.width / frame.width, self.height / frame.height)
        size = (max(self.width, round(frame.width * scale)), max(self.height, round(frame.height * scale)))
        scaled = reformatter.reformat(frame, width=size[0], height=size[1], format="rgb24")
        picture = np.asarray(scaled.to_ndarray(), dtype=np.uint8)
        cut = crop_centre(picture[None], self.width, self.height)[0]
        if self.canvas is None:
            return np.ascontiguousarray(cut)
        wide, high = self.canvas[0] - self.width, self.canvas[1] - self.height
        return np.pad(cut, ((high // 2, high - high // 2), (wide // 2, wide - wide // 2), (0, 0)), mode="edge")


def read_frames(
    path: Path, *, start_s: float, count: int, fps: float, fit: Fit, field: str
) -> Iterator[NDArray[np.uint8]]:
    """Yields the `count` frames that the video shows at `start_s`, `start_s` + 1 / `fps`, …, RGB bytes each.

    Decoding begins at the keyframe before. Raises `InvalidArgument` for `field` when the video cannot be read or ends
    before: MEDIA_DAMAGED; or when its frames are too large: VIDEO_TOO_LARGE.
    """
    given = 0
    try:
        with av.open(str(path)) as container:
            stream = _video_of(container, field)
            reformatter = VideoReformatter()
            shown: VideoFrame | None = None
            for frame in _decoded(container, stream, start_s, field):
                begins = _time_of(frame, stream)
                while shown is not None and given < count and start_s + given / fps + _EARLY_S < begins:
                    yield fit.apply(shown, reformatter)
                    given += 1
                if given == count:
                    return
                shown = frame
            ends = None if shown is None else _time_of(shown, stream) + _duration_of(shown, stream)
            while shown is not None and ends is not None and given < count and start_s + given / fps < ends - _EARLY_S:
                yield fit.apply(shown, reformatter)
                given += 1
    except av.FFmpegError as error:
        raise _damaged(field, str(error)) from error
    if given < count:
        raise _damaged(field, f"it ends {count - given} frames early")


def read_clip(path: Path, *, start_s: float, count: int, fps: float, fit: Fit, field: str) -> NDArray[np.uint8]:
    """The frames of `read_frames` as one array [count, height, width, 3]."""
    return np.stack(list(read_frames(path, start_s=start_s, count=count, fps=fps, fit=fit, field=field)))


def read_sound(path: Path, *, sample_rate: int, field: str) -> Iterator[NDArray[np.float32]]:
    """Yields the file's sound from the start of its pictures on, blocks of stereo samples [2, n] in [-1, 1].

    Nothing when it has none. Raises `InvalidArgument` for `field`: MEDIA_DAMAGED.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                return
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp", layout="stereo", rate=sample_rate)
            first = True
            for frame in container.decode(stream):
                late = 0
                if first and frame.time is not None:
                    # Before zero lies what the encoder needed to begin with.
                    late = round(frame.time * sample_rate)
                    first = False
                if late > 0:
                    yield np.zeros((2, min(late, _SOUND_BLOCK)), dtype=np.float32)
                for piece in resampler.resample(frame):
                    block = np.asarray(piece.to_ndarray(), dtype=np.float32)
                    yield block[:, max(0, -late) :]
            for piece in resampler.resample(None):
                yield np.asarray(piece.to_ndarray(), dtype=np.float32)
    except av.FFmpegError as error:
        raise _damaged(field, str(error)) from error


def has_sound(path: Path) -> bool:
    """Whether the file has a track of sound."""
    with av.open(str(path)) as container:
        return bool(container.streams.audio)


def _video_of(container: InputContainer, field: str) -> VideoStream:
    if not container.streams.video:
        raise _damaged(field, "it has no pictures")
    stream = container.streams.video[0]
    # Before anything is decoded: a small file can announce pictures that fill the memory.
    if max(stream.width, stream.height) > VIDEO_SIDE:
        raise InvalidArgument(
            field,
            f"has {stream.width} × {stream.height} pixels; at most {VIDEO_SIDE} a side are accepted",
            reason="VIDEO_TOO_LARGE",
        )
    return stream


def _decoded(container: InputContainer, stream: VideoStream, start_s: float, field: str) -> Iterator[VideoFrame]:
    """Frames with a time, from the keyframe before `start_s` on."""
    assert stream.time_base is not None
    if start_s > 0:
        container.seek(round(start_s / stream.time_base) + (stream.start_time or 0), stream=stream)
    for frame in container.decode(stream):
        if frame.pts is not None:
            if max(frame.width, frame.height) > VIDEO_SIDE:
                raise _damaged(field, "its pictures change their size")
            yield frame


def _time_of(frame: VideoFrame, stream: VideoStream) -> float:
    assert frame.pts is not None
    assert stream.time_base is not None
    return float((frame.pts - (stream.start_time or 0)) * stream.time_base)


def _duration_of(frame: VideoFrame, stream: VideoStream) -> float:
    if frame.duration and stream.time_base is not None:
        return float(frame.duration * stream.time_base)
    return float(1 / stream.average_rate) if stream.average_rate else 0.0


def _damaged(field: str, problem: str) -> InvalidArgument:
    return InvalidArgument(field, f"the video cannot be read: {problem}", reason="MEDIA_DAMAGED")
