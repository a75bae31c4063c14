"""Video packets of encoded files, copied into a new one: no frame is encoded again."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import av

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Files of a chunk, as `milimo_video.chain.ChunkFiles` has them."""

    video: Path
    sound: Path


class SegmentUnfit(RuntimeError):
    """A segment was not written by the same encoder with the same settings as the first one, or is not whole."""


@dataclass(frozen=True, kw_only=True)
class TrackFacts:
    """What can be told of a file's video without decoding it.

    `settings`: what all parts of a track must share, since a decoder is set up once. `delay`: frames by which decoding
    is ahead of showing. `keyframes`: numbers of the frames from which on it can be decoded by itself. `regular`:
    whether every frame has its own time on the grid of the frame rate, and none is shown before the keyframe that it
    comes after, so that parts between keyframes can be taken out.
    """

    settings: tuple[object, ...]
    delay: int
    frames: int
    keyframes: Sequence[int]
    regular: bool


def track_facts(path: Path, fps: int) -> TrackFacts:
    """Facts of a file's video at `fps` frames a second. Raises av.FFmpegError for a damaged file."""
    keyframes: list[int] = []
    shown: list[int] = []
    closed = True
    delay = 0
    with av.open(str(path)) as source:
        settings = track_settings(source.streams.video[0])
        for number, packet in _packets(source, fps):
            if packet.is_keyframe:
                closed &= not shown or number > max(shown)
                keyframes.append(number)
            closed &= bool(keyframes) and number >= keyframes[-1]
            if not shown:
                delay = _delay_of(packet, fps)
            shown.append(number)
    regular = closed and sorted(shown) == list(range(len(shown)))
    return TrackFacts(settings=settings, delay=delay, frames=len(shown), keyframes=keyframes, regular=regular)


class PacketCopy:
    """The video track of a file in the making, and how far it is."""

    def __init__(self, container: OutputContainer, template: Path, fps: int, *, delay: int | None = None) -> None:
        """Adds a track like that of `template`, a file of what is copied.

        Decoding is so many frames ahead of showing, by the encoder's settings. The template says so in its first
        packet's time, but may say less when it has one or two frames: then `delay` says it.
        """
        self.frames = 0
        self._container = container
        self._fps = fps
        with av.open(str(template)) as source:
            stream = source.streams.video[0]
            self._settings = track_settings(stream)
            self._stream: VideoStream = container.add_stream_from_template(stream)
            self._stream.time_base = Fraction(1, fps)
            _, packet = next(_packets(source, fps))
            self._delay = _delay_of(packet, fps) if delay is None else delay

    def copy(self, path: Path, *, frames: int) -> None:
        """Appends the packets of a segment of so many frames. Raises SegmentUnfit."""
        self.copy_span(path, 0, frames, whole=True)

    def copy_span(self, path: Path, first: int, end: int, *, whole: bool = False) -> None:
        """Appends the packets of frames `first` to `end` − 1, where keyframes or the file's ends are.

        `whole`: there shall be no others. Raises SegmentUnfit.
        """
        number = 0
        with av.open(str(path)) as source:
            if track_settings(source.streams.video[0]) != self._settings:
                raise SegmentUnfit(f"{path.name} was encoded with other settings than the first segment")
            for shown, packet in _packets(source, self._fps):
                if not whole and not first <= shown < end:
                    continue
                number += 1
                ahead = number - 1 - (shown - first)
                if ahead > self._delay or (number == 1 and not packet.is_keyframe):
                    raise SegmentUnfit(f"{path.name} cannot follow another segment")
                packet.stream = self._stream
                packet.time_base = Fraction(1, self._fps)
                packet.pts = self.frames + shown - first
                packet.dts = self.frames + number - 1 - self._delay
                packet.duration = 1
                self._container.mux(packet)
        if number != end - first:
            raise SegmentUnfit(f"{path.name} has {number} frames, not {end - first}")
        self.frames += number


def track_settings(stream: VideoStream) -> tuple[object, ...]:
    """What all segments of a track must share: the decoder is set up once."""
    context = stream.codec_context
    return (context.name, context.extradata, context.width, context.height, context.pix_fmt)


def _packets(source: InputContainer, fps: int) -> Iterator[tuple[int, av.Packet[VideoStream]]]:
    """The packets of the video in their order, each with the number of the frame that it shows."""
    stream = source.streams.video[0]
    for packet in source.demux(stream):
        if packet.size:
            assert packet.pts is not None
            assert packet.time_base is not None
            yield round((packet.pts - (stream.start_time or 0)) * packet.time_base * fps), packet


def _delay_of(first: av.Packet[VideoStream], fps: int) -> int:
    assert first.pts is not None
    assert first.dts is not None
    assert first.time_base is not None
    return round((first.pts - first.dts) * first.time_base * fps)
