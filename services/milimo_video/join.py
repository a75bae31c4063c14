"""Joins the chunks of a long video: their video packets are copied, their sound is mixed and encoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np

from milimo_video import parameters, stage_costs
from milimo_video.chain import overlap_samples
from milimo_video.encode import AUDIO_FRAME, AudioTrack, open_mp4
from milimo_video.geometry import audio_samples
from milimo_video.packets import PacketCopy
from milimo_video.result import finished_video
from milimo_video.sound import SoundMixer
from milimo_video.splice import splice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from av.container import OutputContainer
    from milimo_runtime.observer import Observer
    from numpy.typing import NDArray

    from milimo_video.chunk import Chunk
    from milimo_video.packets import Segment
    from milimo_video.plan import VideoPlan
    from milimo_video.request import VideoRequest
    from milimo_video.result import VideoResult


def join_chunks(
    request: VideoRequest,
    plan: VideoPlan,
    segment: Callable[[int], AbstractContextManager[Segment]],
    observer: Observer,
    out_path: Path,
    *,
    model: str,
    sample_rate: int,
    around: Path | None = None,
) -> VideoResult:
    """Writes the finished video of a chained plan to `out_path`, the thumbnail beside it with the suffix ".jpg".

    With a retake, `around` is the video whose span the chunks make anew.

    `segment` opens the files of a chunk, counted from 0, one at a time. No frame is encoded again: packets keep their
    bytes and get new times. The file has a keyframe at each chunk's first frame, and its index in front. When this is
    left by an exception no file remains. Raises `SegmentUnfit`.
    """
    text = parameters.to_json(request, plan, model)
    observer.begin(stage_costs.JOIN, len(plan.chunks))
    container = open_mp4(out_path, comment=text, description=request.prompt)
    try:
        try:
            if around is None:
                _join(plan, segment, observer, container, sample_rate)
            else:
                sound = _whole_sound(plan, segment, sample_rate)
                splice(around, plan, segment, sound, observer, container, sample_rate, out_path.parent)
        finally:
            container.close()
        first = first_frame(out_path)
        return finished_video(request, plan, out_path, first, sample_rate=sample_rate, parameters_json=text)
    except BaseException:
        out_path.unlink(missing_ok=True)
        raise


def _join(
    plan: VideoPlan,
    segment: Callable[[int], AbstractContextManager[Segment]],
    observer: Observer,
    container: OutputContainer,
    sample_rate: int,
) -> None:
    with segment(0) as first:
        packets = PacketCopy(container, first.video, plan.fps)
    audio = AudioTrack(container, sample_rate)
    # What is mixed but does not fill a frame of the encoder yet.
    rest = np.zeros((2, 0), dtype=np.float32)
    left = audio_samples(plan.num_frames, plan.fps, sample_rate)
    for chunk, files, mixed in _mixed_chunks(plan, segment, sample_rate):
        # A retake's sound goes on where its video does; alone it ends with its frames.
        ready = np.concatenate([rest, mixed[:, :left]], axis=1)
        left -= min(left, mixed.shape[1])
        last = chunk.span.index == len(plan.chunks) - 1
        whole = ready.shape[1] if last else ready.shape[1] // AUDIO_FRAME * AUDIO_FRAME
        audio.write(ready[:, :whole])
        rest = ready[:, whole:].copy()
        packets.copy(files.video, frames=chunk.span.kept)
        observer.advance()
    audio.end()


def _whole_sound(
    plan: VideoPlan, segment: Callable[[int], AbstractContextManager[Segment]], sample_rate: int
) -> NDArray[np.float32]:
    return np.concatenate([mixed for _, _, mixed in _mixed_chunks(plan, segment, sample_rate)], axis=1)


def _mixed_chunks(
    plan: VideoPlan, segment: Callable[[int], AbstractContextManager[Segment]], sample_rate: int
) -> Iterator[tuple[Chunk, Segment, NDArray[np.float32]]]:
    """Each chunk, its files while they are open, and the sound that is finished with it."""
    mixer = SoundMixer()
    # Sound of another video that the first chunk goes on from, when it is no part of this one.
    apart = plan.num_frames == plan.new_frames
    skipped = overlap_samples(plan, plan.chunks[0], sample_rate) if apart else 0
    for number, chunk in enumerate(plan.chunks):
        following = plan.chunks[number + 1 :]
        with segment(number) as files:
            hold = overlap_samples(plan, following[0], sample_rate) if following else 0
            mixed = mixer.add(np.load(files.sound, allow_pickle=False), hold=hold)
            yield chunk, files, mixed[:, skipped:]
            skipped -= min(skipped, mixed.shape[1])


def first_frame(path: Path) -> NDArray[np.uint8]:
    """The first frame of a video, RGB bytes [height, width, 3]."""
    with av.open(str(path)) as source:
        frame = next(source.decode(source.streams.video[0]))
        return np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
