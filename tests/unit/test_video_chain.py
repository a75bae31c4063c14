"""What chunks of a long video hand over, how their sound is mixed and their packets are joined."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from milimo_runtime.jobs import JobKind, NewJob, Subject
from milimo_runtime.media import MediaStore
from milimo_runtime.observer import JobCancelled, Silent
from milimo_video import job_parameters
from milimo_video.chain import overlap_samples, sound_samples
from milimo_video.chained_job import chunk_keys, earlier_chunk
from milimo_video.continuation import HandOff, Statistics, load_hand_off, match_statistics, statistics_of
from milimo_video.encode import Mp4Writer
from milimo_video.join import join_chunks
from milimo_video.packets import Segment, SegmentUnfit
from milimo_video.plan import VideoPlan, plan_video
from milimo_video.request import Condition, Handoff, Lora, VideoRequest
from milimo_video.sound import SoundMixer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from milimo_runtime.job_store import JobStore
    from numpy.typing import NDArray

RATE = 24_000
ASK = VideoRequest(prompt="a red ball", seed=7, width=64, height=48, num_frames=60)


def square(frames: range, width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """A bright square that moves over a gradient; each frame is known by its number."""
    video = np.zeros((len(frames), height, width, 3), np.uint8)
    video[..., 2] = np.linspace(0, 200, width, dtype=np.uint8)
    for at, number in enumerate(frames):
        x, y = number % (width - 8), number % (height - 8)
        video[at, y : y + 8, x : x + 8] = (250, 220, 30)
    return video


def write_chunks(plan: VideoPlan, folder: Path) -> Callable[[int], AbstractContextManager[Segment]]:
    """Segments as the engine leaves them, with a tone of 440 Hz that goes on over all chunks."""
    for number, chunk in enumerate(plan.chunks):
        span = chunk.span
        with Mp4Writer(
            folder / f"{number}.mp4",
            width=plan.width,
            height=plan.height,
            fps=plan.fps,
            sample_rate=None,
            comment="",
            description="",
        ) as writer:
            writer.write_frames(square(range(span.start, span.start + span.kept)))
        begin = round((span.start - span.overlap) * RATE / plan.fps)
        at = np.arange(begin, begin + sound_samples(plan, chunk, RATE))
        wave = 0.5 * np.sin(2 * np.pi * 440 * at / RATE).astype(np.float32)
        np.save(folder / f"{number}.npy", np.stack([wave, -wave]))

    @contextlib.contextmanager
    def opened(number: int) -> Iterator[Segment]:
        yield Segment(video=folder / f"{number}.mp4", sound=folder / f"{number}.npy")

    return opened


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize(
    ("frames", "fps", "chunk_frames", "overlap"),
    [(60, 25, 25, None), (26, 24, 25, 1), (27, 60, 25, 9), (100, 25, 49, 40), (130, 30, 121, 24), (50, 48, 9, 1)],
)
def test_joined_file_has_all_packets_and_sound_once(
    tmp_path: Path, frames: int, fps: int, chunk_frames: int, overlap: int | None
) -> None:
    request = replace(ASK, num_frames=frames, fps=fps, overlap_frames=overlap)
    plan = plan_video(request, "distilled", chunk_frames=chunk_frames)
    assert plan.chained
    segments = write_chunks(plan, tmp_path)
    out = tmp_path / "video.mp4"
    result = join_chunks(request, plan, segments, Silent(), out, model="test", sample_rate=RATE)

    assert packets(out) == [p for number in range(len(plan.chunks)) for p in packets(tmp_path / f"{number}.mp4")]
    with av.open(str(out)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert video.average_rate == fps
        assert video.duration is not None
        assert video.time_base is not None
        assert video.duration * video.time_base * fps == frames
        assert audio.duration is not None
        assert audio.time_base is not None
        assert float(audio.duration * audio.time_base) == pytest.approx(frames / fps, abs=0.5 / fps)
        times = [packet.dts for packet in container.demux(video) if packet.dts is not None and packet.size]
        assert all(before < after for before, after in pairwise(times))
    with av.open(str(out)) as container:
        pictures = list(container.decode(video=0))
    assert [picture.pts * picture.time_base * fps for picture in pictures] == list(range(frames))
    keys = {number for number, picture in enumerate(pictures) if picture.key_frame}
    assert {chunk.span.start for chunk in plan.chunks} <= keys
    assert all(after - before <= fps for before, after in pairwise([*sorted(keys), frames]))
    shown = np.stack([picture.to_ndarray(format="rgb24") for picture in pictures]).astype(float)
    assert np.abs(shown - square(range(frames))).mean(axis=(1, 2, 3)).max() < 8

    with av.open(str(out)) as container:
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(heard.shape[1]) / RATE)
    # In step with the one tone everywhere: louder where both sides of an overlap are in phase, by at most √2.
    settled = slice(2048, round(frames * RATE / fps) - 2048)
    assert np.corrcoef(heard[0][settled], wave[settled])[0, 1] > 0.95
    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert result.thumbnail_path.exists()
    values = json.loads(result.parameters_json)
    assert (values["chunk_frames"], values["overlap_frames"]) == (chunk_frames, plan.overlap.frames)


def test_joining_again_gives_the_same_bytes(tmp_path: Path) -> None:
    plan = plan_video(ASK, "distilled", chunk_frames=25)
    segments = write_chunks(plan, tmp_path)
    files = []
    for name in ("first.mp4", "second.mp4"):
        join_chunks(ASK, plan, segments, Silent(), tmp_path / name, model="test", sample_rate=RATE)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]


def test_a_segment_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    plan = plan_video(ASK, "distilled", chunk_frames=25)
    segments = write_chunks(plan, tmp_path)
    (tmp_path / "2.mp4").replace(tmp_path / "1.mp4")
    (tmp_path / "0.mp4").rename(tmp_path / "2.mp4")
    write_chunks(replace(plan, chunks=plan.chunks[:1]), tmp_path)
    with pytest.raises(SegmentUnfit, match="25 frames, not 8"):
        join_chunks(ASK, plan, segments, Silent(), tmp_path / "video.mp4", model="test", sample_rate=RATE)
    assert not (tmp_path / "video.mp4").exists()


def test_cancelling_the_join_leaves_no_file(tmp_path: Path) -> None:
    class Impatient(Silent):
        def advance(self, steps: int = 1) -> None:
            raise JobCancelled

    plan = plan_video(ASK, "distilled", chunk_frames=25)
    segments = write_chunks(plan, tmp_path)
    with pytest.raises(JobCancelled):
        join_chunks(ASK, plan, segments, Impatient(), tmp_path / "video.mp4", model="test", sample_rate=RATE)
    assert not (tmp_path / "video.mp4").exists()


@given(
    frames=st.integers(122, 2000),
    fps=st.sampled_from((24, 25, 30, 60)),
    overlap=st.integers(1, 96),
    rate=st.sampled_from((16_000, 24_000, 44_100)),
)
def test_chunks_of_sound_fit_together(frames: int, fps: int, overlap: int, rate: int) -> None:
    """Whatever the rounding, the mixed sound is exactly as long as the video."""
    plan = plan_video(replace(ASK, num_frames=frames, fps=fps, overlap_frames=overlap), "distilled")
    mixer, total = SoundMixer(), 0
    for number, chunk in enumerate(plan.chunks):
        following = plan.chunks[number + 1 :]
        hold = overlap_samples(plan, following[0], rate) if following else 0
        total += mixer.add(np.zeros((2, sound_samples(plan, chunk, rate)), np.float32), hold=hold).shape[1]
    assert total == round(frames * rate / fps)


def test_cross_fade_keeps_the_loudness_and_nothing_beside_the_overlap() -> None:
    generator = np.random.default_rng(0)
    first, second = (0.2 * generator.standard_normal((2, 20_000)).astype(np.float32) for _ in range(2))
    mixer = SoundMixer()
    begun = mixer.add(first, hold=8000)
    rest = mixer.add(second, hold=0)
    assert np.array_equal(begun, first[:, :12_000])
    assert np.array_equal(rest[:, 8000:], second[:, 8000:])
    fade = rest[:, :8000]
    assert np.abs(fade[:, :8] - first[:, 12_000:12_008]).max() < 0.01
    assert np.abs(fade[:, -8:] - second[:, 7992:8000]).max() < 0.01
    loudness = [float(part.std()) for part in np.split(fade, 8, axis=1)]
    assert all(0.18 < part < 0.22 for part in loudness)
    assert np.abs(SoundMixer().add(np.full((2, 10), 3.0, np.float32), hold=0)).max() == 1.0


def test_statistics_are_matched() -> None:
    torch.manual_seed(0)
    first = torch.randn(1, 128, 3, 4, 5) * torch.linspace(0.5, 2, 128).view(1, -1, 1, 1, 1) + 1
    later = torch.randn(1, 128, 4, 4, 5) * 3 - 2
    later[:, 7] = 0.25
    wanted = statistics_of(first)
    matched = match_statistics(later, wanted)
    found = statistics_of(matched)
    torch.testing.assert_close(found.mean, wanted.mean, rtol=1e-4, atol=1e-5)
    varying = torch.arange(128) != 7
    torch.testing.assert_close(found.deviation[varying], wanted.deviation[varying], rtol=1e-4, atol=1e-5)
    assert found.deviation[7] == 0, "a channel without any variation has none to scale"
    torch.testing.assert_close(match_statistics(first, wanted), first, rtol=1e-4, atol=1e-5)


def test_hand_off_survives_its_file(tmp_path: Path) -> None:
    frames = torch.randint(0, 256, (9, 64, 64, 3), dtype=torch.uint8)
    statistics = Statistics(mean=torch.randn(128), deviation=torch.rand(128))
    path = tmp_path / "end.safetensors"
    HandOff(frames=frames, statistics=statistics).save(path)
    read = load_hand_off(path)
    assert read.half is read.full is None
    assert read.frames is not None
    assert read.statistics is not None
    assert torch.equal(read.frames, frames)
    assert torch.equal(read.statistics.deviation, statistics.deviation)
    half, full = torch.randn(1, 128, 2, 1, 1), torch.randn(1, 128, 2, 2, 2)
    HandOff(half=half, full=full).save(path)
    again = load_hand_off(path)
    assert again.frames is again.statistics is None
    assert again.half is not None
    assert torch.equal(again.half, half)


def test_a_job_keeps_the_whole_request() -> None:
    request = replace(
        ASK,
        handoff=Handoff.LATENT,
        overlap_frames=9,
        match_statistics=True,
        chunk_prompts=("one", ""),
        conditions=(Condition(asset_id="a", kind="image"),),
        loras=(Lora(name="style"),),
    )
    kept = json.loads(json.dumps(job_parameters.to_json(request, chunk_frames=25)))
    assert job_parameters.from_json(kept) == request
    assert job_parameters.chunk_frames(kept) == 25
    # A job of a version that chained nothing.
    for name in ("handoff", "overlap_frames", "match_statistics", "chunk_prompts", "chunk_frames"):
        del kept[name]
    plain = replace(request, handoff=Handoff.REENCODE, overlap_frames=None, match_statistics=False, chunk_prompts=())
    assert job_parameters.from_json(kept) == plain
    assert job_parameters.chunk_frames(kept) == 121


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_files_of_an_attempt_that_died_are_found(store: JobStore, project: str, tmp_path: Path) -> None:
    job, _ = store.submit(
        NewJob(kind=JobKind.VIDEO, subject=Subject(project_id=project), parameters={}),
        service="video",
        worker_address="",
    )
    for _ in range(4):
        job, _ = store.begin_attempt(job.id)
    media = MediaStore((tmp_path / "media").as_uri())

    def leave(attempt: int, *names: str) -> None:
        keys = chunk_keys(job, attempt, 1, RATE)
        for name in names:
            media.write(b"data", getattr(keys, name), scratch=tmp_path / "scratch")

    assert earlier_chunk(media, job, 1, RATE, hand_off=False) is None
    leave(1, "segment", "sound", "hand_off")
    leave(2, "segment", "sound")
    # Half of them only, and those that this attempt is making.
    leave(3, "segment")
    leave(4, "segment", "sound", "hand_off")
    assert earlier_chunk(media, job, 1, RATE, hand_off=False) == chunk_keys(job, 2, 1, RATE)
    assert earlier_chunk(media, job, 1, RATE, hand_off=True) == chunk_keys(job, 1, 1, RATE)
    assert earlier_chunk(media, job, 0, RATE, hand_off=False) is None
    media.delete_work(project, job.id)
    assert earlier_chunk(media, job, 1, RATE, hand_off=False) is None
