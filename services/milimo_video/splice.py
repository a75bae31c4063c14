"""Puts frames that were made anew into the video that they belong to; what lies outside of them stays.

Frames outside are copied as packets, in groups of pictures: from one keyframe to the next. Groups that the span cuts
are decoded, and what stays of them is encoded again. The sound outside stays too, cross-faded with the new one where
the model was given frames of the video to go on from, and to lead to; it is encoded as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import av
import numpy as np
from milimo_runtime.errors import InvalidArgument

from milimo_video.encode import AUDIO_FRAME, AudioTrack, Mp4Writer
from milimo_video.footage import Fit, has_sound, read_frames, read_sound
from milimo_video.geometry import audio_samples
from milimo_video.packets import PacketCopy, TrackFacts, track_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from av.container import OutputContainer
    from milimo_runtime.observer import Observer
    from numpy.typing import NDArray

    from milimo_video.packets import Segment
    from milimo_video.plan import VideoPlan

_FIELD: Final = "video.retake.asset_id"
# Where the new sound ends beside frames that the model was not given.
_SHORT_FADE_S: Final = 0.02
_BATCH_FRAMES: Final = 16
# Frames whose packets are copied before the sound catches up; each time the file's index is read through.
_COPIED_AT_ONCE: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Frames 0 … `head` − 1 and `tail` … are copied; those between and outside of the span are encoded again."""

    head: int
    first: int
    end: int
    tail: int

    @property
    def encoded_again(self) -> int:
        """How many frames of the video lose a generation of quality."""
        return self.first - self.head + self.tail - self.end


def cut_at_keyframes(facts: TrackFacts, first: int, end: int, *, same_settings: bool) -> Cut:
    """Where to cut for new frames `first` … `end` − 1; nothing is copied when parts cannot be taken out."""
    if not (facts.regular and same_settings):
        return Cut(head=0, first=first, end=end, tail=facts.frames)
    head = max((number for number in facts.keyframes if number <= first), default=0)
    tail = min((number for number in facts.keyframes if number >= end), default=facts.frames)
    return Cut(head=head, first=first, end=end, tail=tail)


def splice(
    video: Path,
    plan: VideoPlan,
    segment: Callable[[int], AbstractContextManager[Segment]],
    sound: NDArray[np.float32],
    observer: Observer,
    container: OutputContainer,
    sample_rate: int,
    folder: Path,
) -> None:
    """Writes `video` with the chunks of a retake's plan in their place into `container`.

    `segment` opens the files of a chunk, `sound` is that of all chunks [2, n], from the first frame that they repeat
    to the last that they lead to. Files in the making lie in `folder`. Raises `InvalidArgument` when the video cannot
    be read, `SegmentUnfit`.
    """
    try:
        facts = track_facts(video, plan.fps)
    except av.FFmpegError as error:
        raise InvalidArgument(_FIELD, f"the video cannot be read: {error}", reason="MEDIA_DAMAGED") from error
    with segment(0) as files:
        made = track_facts(files.video, plan.fps)
        cut = cut_at_keyframes(
            facts, plan.first_frame, plan.first_frame + plan.new_frames, same_settings=facts.settings == made.settings
        )
        delay = max(facts.delay, made.delay)
        packets = PacketCopy(container, files.video, plan.fps, delay=delay)
    if cut.encoded_again:
        observer.notice("FRAMES_REENCODED", _what_is_encoded_again(cut))
    audio = AudioTrack(container, sample_rate) if has_sound(video) else None
    samples = _Steady(audio, _mixed(video, plan, sound, sample_rate) if audio else iter(()))

    def heard() -> None:
        samples.write_to(audio_samples(packets.frames, plan.fps, sample_rate))

    def copied(first: int, end: int) -> None:
        for part, until in _between_keyframes(facts, first, end):
            packets.copy_span(video, part, until)
            heard()

    def encoded(first: int, end: int) -> None:
        if first < end:
            path = folder / f"around-{first}.mp4"
            _encode_again(video, plan, first, end, path, observer)
            packets.copy(path, frames=end - first)
            path.unlink()
            heard()

    copied(0, cut.head)
    encoded(cut.head, cut.first)
    for number, chunk in enumerate(plan.chunks):
        with segment(number) as files:
            packets.copy(files.video, frames=chunk.span.kept)
        heard()
        observer.advance()
    encoded(cut.end, cut.tail)
    copied(cut.tail, facts.frames)
    samples.end()


def _what_is_encoded_again(cut: Cut) -> str:
    spans = [(first, end) for first, end in ((cut.head, cut.first), (cut.end, cut.tail)) if first < end]
    words = " and ".join(f"{first} to {end - 1}" for first, end in spans)
    return f"frames {words} share a group of pictures with the span: they were encoded again, all others were copied"


def _between_keyframes(facts: TrackFacts, first: int, end: int) -> Iterator[tuple[int, int]]:
    """The span in pieces of about a thousand frames from keyframe to keyframe, so that sound keeps up."""
    begin = first
    for number in (*facts.keyframes, end):
        if number == end or (first < number < end and number - begin >= _COPIED_AT_ONCE):
            if begin < number:
                yield begin, number
            begin = number
        if number == end:
            return


def _encode_again(video: Path, plan: VideoPlan, first: int, end: int, path: Path, observer: Observer) -> None:
    fit = Fit(width=plan.width, height=plan.height)
    with Mp4Writer(
        path, width=plan.width, height=plan.height, fps=plan.fps, sample_rate=None, comment="", description=""
    ) as writer:
        frames = read_frames(video, start_s=first / plan.fps, count=end - first, fps=plan.fps, fit=fit, field=_FIELD)
        for number, frame in enumerate(frames, 1):
            writer.write_frames(frame[None])
            if number % _BATCH_FRAMES == 0:
                # Whether to go on.
                observer.advance(0)


def _mixed(video: Path, plan: VideoPlan, new: NDArray[np.float32], sample_rate: int) -> Iterator[NDArray[np.float32]]:
    """Blocks of the video's sound with the new one in its place, as long as the pictures."""

    def at(frame: int) -> int:
        return audio_samples(frame, plan.fps, sample_rate)

    total, lead = at(plan.num_frames), plan.chunks[0].span.overlap
    end_frame = plan.first_frame + plan.new_frames
    begin, end = at(plan.first_frame - lead), min(at(end_frame + plan.trail), total)
    new = new[:, : end - begin]
    rise = at(plan.first_frame) - begin
    fall = end - at(end_frame) if plan.trail else min(round(_SHORT_FADE_S * sample_rate), new.shape[1] // 2)
    # Equal power, as between chunks. Nothing of the old sound where nothing of it was given.
    turn = np.concatenate(
        [
            _ramp(rise),
            np.full(max(0, new.shape[1] - rise - fall), np.pi / 2, dtype=np.float32),
            _ramp(fall)[::-1] if end_frame < plan.num_frames else np.full(fall, np.pi / 2, dtype=np.float32),
        ]
    )[: new.shape[1]]
    place = 0
    for block in _as_long_as(read_sound(video, sample_rate=sample_rate, field=_FIELD), total):
        mixed = block.copy()
        low, high = max(begin, place), min(begin + new.shape[1], place + block.shape[1])
        if low < high:
            angle = turn[low - begin : high - begin]
            old, made = block[:, low - place : high - place], new[:, low - begin : high - begin]
            mixed[:, low - place : high - place] = old * np.cos(angle) + made * np.sin(angle)
        place += block.shape[1]
        yield np.clip(mixed, -1.0, 1.0)


def _ramp(samples: int) -> NDArray[np.float32]:
    """Angles from 0 to a right one."""
    return (np.arange(samples, dtype=np.float32) + 0.5) * np.float32(np.pi / 2 / max(1, samples))


def _as_long_as(blocks: Iterator[NDArray[np.float32]], samples: int) -> Iterator[NDArray[np.float32]]:
    """So many samples in all: cut, or with silence behind."""
    left = samples
    for block in blocks:
        if left and block.shape[1]:
            yield block[:, :left]
            left -= min(left, block.shape[1])
    while left:
        yield np.zeros((2, min(left, 1 << 16)), dtype=np.float32)
        left -= min(left, 1 << 16)


class _Steady:
    """Writes sound in whole frames of the encoder, no further than is asked for."""

    def __init__(self, track: AudioTrack | None, blocks: Iterator[NDArray[np.float32]]) -> None:
        self._track = track
        self._blocks = blocks
        self._rest = np.zeros((2, 0), dtype=np.float32)
        self._written = 0

    def write_to(self, samples: int) -> None:
        """Writes up to about so many samples in all."""
        while self._track is not None and self._written + self._rest.shape[1] < samples:
            block = next(self._blocks, None)
            if block is None:
                return
            ready = np.concatenate([self._rest, block], axis=1)
            whole = ready.shape[1] // AUDIO_FRAME * AUDIO_FRAME
            self._track.write(ready[:, :whole])
            self._written += whole
            self._rest = ready[:, whole:].copy()

    def end(self) -> None:
        """Writes what is left."""
        if self._track is None:
            return
        for block in self._blocks:
            self._rest = np.concatenate([self._rest, block], axis=1)
        self._track.write(self._rest)
        self._track.end()
