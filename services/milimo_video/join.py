"""Joins the chunks of a long video: their video packets are copied, their sound is mixed and encoded once."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np

from milimo_video import parameters, stage_costs
from milimo_video.chain import overlap_samples
from milimo_video.encode import AUDIO_FRAME, AudioTrack, open_mp4, write_thumbnail
from milimo_video.engine import VideoResult
from milimo_video.sound import SoundMixer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from av.container import OutputContainer
    from av.video.stream import VideoStream
    from milimo_runtime.observer import Observer
    from numpy.typing import NDArray

    from milimo_video.plan import VideoPlan
    from milimo_video.request import VideoRequest


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Files of a chunk, as `milimo_video.chain.ChunkFiles` has them."""

    video: Path
    sound: Path


class SegmentUnfit(RuntimeError):
    """A segment was not written by the same encoder with the same settings as the first one, or is not whole."""


def join_chunks(
    request: VideoRequest,
    plan: VideoPlan,
    segment: Callable[[int], AbstractContextManager[Segment]],
    observer: Observer,
    out_path: Path,
    *,
    model: str,
    sample_rate: int,
) -> VideoResult:
    """Writes the finished video of a chained plan to `out_path`, the thumbnail beside it with the suffix ".jpg".

    `segment` opens the files of a chunk, counted from 0, one at a time. No frame is encoded again: packets keep their
    bytes and get new times. The file has a keyframe at each chunk's first frame, and its index in front. When this is
    left by an exception no file remains. Raises `SegmentUnfit`.
    """
    text = parameters.to_json(request, plan, model)
    thumbnail = out_path.with_suffix(".jpg")
    observer.begin(stage_costs.JOIN, len(plan.chunks))
    container = open_mp4(out_path, comment=text, description=request.prompt)
    try:
        try:
            _join(plan, segment, observer, container, sample_rate)
        finally:
            container.close()
        with segment(0) as first:
            write_thumbnail(_first_frame(first.video), thumbnail)
    except BaseException:
        out_path.unlink(missing_ok=True)
        raise
    return VideoResult(
        path=out_path,
        thumbnail_path=thumbnail,
        width=plan.width,
        height=plan.height,
        num_frames=plan.num_frames,
        fps=plan.fps,
        seed=request.seed,
        audio_sample_rate=sample_rate,
        parameters_json=text,
    )


def _join(
    plan: VideoPlan,
    segment: Callable[[int], AbstractContextManager[Segment]],
    observer: Observer,
    container: OutputContainer,
    sample_rate: int,
) -> None:
    with segment(0) as first:
        packets = _PacketCopy(container, first.video, plan.fps)
    audio = AudioTrack(container, sample_rate)
    mixer = SoundMixer()
    # What is mixed but does not fill a frame of the encoder yet.
    rest = np.zeros((2, 0), dtype=np.float32)
    for number, chunk in enumerate(plan.chunks):
        following = plan.chunks[number + 1 :]
        with segment(number) as files:
            hold = overlap_samples(plan, following[0], sample_rate) if following else 0
            mixed = mixer.add(np.load(files.sound, allow_pickle=False), hold=hold)
            ready = np.concatenate([rest, mixed], axis=1)
            whole = ready.shape[1] // AUDIO_FRAME * AUDIO_FRAME if following else ready.shape[1]
            audio.write(ready[:, :whole])
            rest = ready[:, whole:].copy()
            packets.copy(files.video, frames=chunk.span.kept)
        observer.advance()
    audio.end()


class _PacketCopy:
    """The video track of the joined file, and how far it is."""

    def __init__(self, container: OutputContainer, first: Path, fps: int) -> None:
        self._container = container
        self._fps = fps
        self._frames = 0
        with av.open(str(first)) as source:
            template = source.streams.video[0]
            self._settings = _settings(template)
            self._stream: VideoStream = container.add_stream_from_template(template)
            self._stream.time_base = Fraction(1, fps)
            # Decoding is so many frames ahead of showing, by the encoder's settings. It says so in the first packet's
            # time, but may say less in a segment of one or two frames, as the last one can be.
            _, packet = next(_packets(source, fps))
            assert packet.pts is not None
            assert packet.dts is not None
            assert packet.time_base is not None
            self._delay = round((packet.pts - packet.dts) * packet.time_base * fps)

    def copy(self, path: Path, *, frames: int) -> None:
        """Appends the packets of a segment of so many frames."""
        with av.open(str(path)) as source:
            if _settings(source.streams.video[0]) != self._settings:
                raise SegmentUnfit(f"{path.name} was encoded with other settings than the first segment")
            number = 0
            for number, (shown, packet) in enumerate(_packets(source, self._fps), 1):
                ahead = number - 1 - shown
                if ahead > self._delay or (number == 1 and not packet.is_keyframe):
                    raise SegmentUnfit(f"{path.name} cannot follow another segment")
                packet.stream = self._stream
                packet.time_base = Fraction(1, self._fps)
                packet.pts = self._frames + shown
                packet.dts = self._frames + number - 1 - self._delay
                packet.duration = 1
                self._container.mux(packet)
            if number != frames:
                raise SegmentUnfit(f"{path.name} has {number} frames, not {frames}")
        self._frames += frames


def _packets(source: av.container.InputContainer, fps: int) -> Iterator[tuple[int, av.Packet[VideoStream]]]:
    """The packets of the video in their order, each with the number of the frame that it shows."""
    for packet in source.demux(source.streams.video[0]):
        if packet.size:
            assert packet.pts is not None
            assert packet.time_base is not None
            yield round(packet.pts * packet.time_base * fps), packet


def _settings(stream: VideoStream) -> tuple[object, ...]:
    """What all segments of a track must share: the decoder is set up once."""
    context = stream.codec_context
    return (context.name, context.extradata, context.width, context.height, context.pix_fmt)


def _first_frame(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as source:
        frame = next(source.decode(source.streams.video[0]))
        return np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
