"""Videos that exist already: read exactly, followed, continued, made anew in part."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
import torch
from milimo_runtime.errors import InvalidArgument
from milimo_runtime.observer import Silent
from milimo_video.chain import ChunkFiles, make_chunk
from milimo_video.continuation import HandOff, load_hand_off
from milimo_video.decode import Tiling
from milimo_video.encode import Mp4Writer
from milimo_video.engine import denoise_chunk, make_latents
from milimo_video.footage import Fit, read_clip, read_sound
from milimo_video.join import join_chunks
from milimo_video.packets import Segment, track_facts
from milimo_video.plan import plan_video
from milimo_video.request import Condition, Extension, Handoff, PipelineOverride, Retake
from milimo_video.sources import condition_pieces, lead_piece, trail_piece
from milimo_video.text import PromptCache

from .tiny import CLIP, SMALL, Recorder, decode_file, moving, picture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from milimo_video.models import VideoModels
    from milimo_video.plan import VideoPlan
    from milimo_video.request import VideoRequest
    from milimo_video.sources import Piece
    from numpy.typing import NDArray

RATE = 24_000


def write(path: Path, frames: NDArray[np.uint8], fps: int = 25, *, sound: bool = True) -> Path:
    """A video as Milimo writes it, its sound a tone."""
    with Mp4Writer(
        path,
        width=frames.shape[2],
        height=frames.shape[1],
        fps=fps,
        sample_rate=RATE if sound else None,
        comment="",
        description="",
    ) as writer:
        writer.write_frames(frames)
        if sound:
            tone = np.sin(np.arange(len(frames) * RATE // fps) * (2 * np.pi * 440 / RATE)).astype(np.float32) / 2
            writer.write_audio(np.stack([tone, tone]))
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty frames with keyframes at 0, 25 and 50."""
    return write(tmp_path_factory.mktemp("footage") / "video.mp4", moving(60))


@pytest.mark.parametrize(("first", "count"), [(0, 1), (0, 60), (24, 3), (25, 1), (37, 17), (59, 1)])
def test_exactly_the_frames_that_are_asked_for(video: Path, first: int, count: int) -> None:
    read = read_clip(video, start_s=first / 25, count=count, fps=25, fit=Fit(width=128, height=64), field="video")
    assert np.array_equal(read, decode_file(video)[first : first + count])


def test_other_rates_show_what_is_seen_at_that_time(video: Path) -> None:
    frames = decode_file(video)
    fit = Fit(width=128, height=64)
    twice = read_clip(video, start_s=0.4, count=8, fps=50, fit=fit, field="video")
    assert np.array_equal(twice, frames[[10, 10, 11, 11, 12, 12, 13, 13]])
    fewer = read_clip(video, start_s=0.0, count=5, fps=24, fit=fit, field="video")
    assert np.array_equal(fewer, frames[[0, 1, 2, 3, 4]])


def test_a_place_on_a_canvas_is_given_back_by_cutting_it_out(video: Path) -> None:
    fit = Fit(width=100, height=50, canvas=(128, 64))
    (placed,) = read_clip(video, start_s=0.0, count=1, fps=25, fit=fit, field="video")
    (alone,) = read_clip(video, start_s=0.0, count=1, fps=25, fit=replace(fit, canvas=None), field="video")
    assert placed.shape == (64, 128, 3)
    assert np.array_equal(placed[7:57, 14:114], alone)


def test_what_cannot_be_read_names_its_field(video: Path, tmp_path: Path) -> None:
    fit = Fit(width=128, height=64)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    for path, start_s in ((cut, 1.5), (text, 0.0), (video, 2.0)):
        with pytest.raises(InvalidArgument, match="cannot be read") as caught:
            read_clip(path, start_s=start_s, count=20, fps=25, fit=fit, field="video.extend_asset_id")
        assert caught.value.reason == "MEDIA_DAMAGED"
        assert [violation.field for violation in caught.value.violations] == ["video.extend_asset_id"]


@pytest.fixture
def positions(models: VideoModels) -> Iterator[list[torch.Tensor]]:
    """The times [tokens, 2] of the video's tokens in each forward pass, in seconds."""
    seen: list[torch.Tensor] = []
    hook = models.text_to_video.transformer.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["video_coords"][0, 0].clone()), with_kwargs=True
    )
    yield seen
    hook.remove()


@pytest.mark.parametrize("pipeline", [PipelineOverride.TI2VID, PipelineOverride.KEYFRAME])
@pytest.mark.parametrize("frame", [0, 5, -9])
def test_a_video_stands_at_its_frame_in_both_stages(
    models: VideoModels,
    forwards: list[int],
    positions: list[torch.Tensor],
    frame: int,
    pipeline: PipelineOverride,
) -> None:
    image = Condition(asset_id="start", kind="image", frame_index=3)
    request = replace(
        SMALL,
        num_frames=20,
        conditions=(replace(CLIP, frame_index=frame), image),
        pipeline_override=pipeline,
    )
    plan = plan_video(request, "distilled")
    (chunk,) = plan.chunks
    material = {"clip": moving(9), "start": picture()}
    made = make_latents(models, request, plan, material, Silent(), PromptCache(0)).video
    replaces = frame == 0 and pipeline is PipelineOverride.TI2VID
    # Four latents of the video, one of the image, two of the clip.
    half = (4 + 1 + (0 if replaces else 2)) * 2
    assert forwards == [half] * 8 + [half * 4] * 3
    assert (chunk.stage_1_tokens, chunk.stage_2_tokens) == (half, half * 4)
    if replaces:
        other = make_latents(
            models,
            replace(request, seed=1),
            plan_video(replace(request, seed=1), "distilled"),
            material,
            Silent(),
            PromptCache(0),
        ).video
        torch.testing.assert_close(made[:, :, :2], other[:, :, :2], rtol=1e-4, atol=1e-4)
        assert (made[:, :, 2:] - other[:, :, 2:]).abs().mean() > 0.01
    else:
        begins = frame % 20
        times = positions[0][8:12] * request.fps
        wanted = torch.tensor([[begins, begins + 8.0]] * 2 + [[begins + 8.0, begins + 16.0]] * 2)
        torch.testing.assert_close(times, wanted)
    # Followed.
    changed = make_latents(models, request, plan, {**material, "clip": 255 - moving(9)}, Silent(), PromptCache(0))
    assert not torch.equal(changed.video, made)


@pytest.mark.parametrize(
    ("pipeline", "frame", "read_from"), [(PipelineOverride.IC_LORA, 0, 8), (PipelineOverride.TI2VID, 17, 25)]
)
def test_a_long_video_is_followed_in_further_chunks(
    models: VideoModels,
    forwards: list[int],
    positions: list[torch.Tensor],
    pipeline: PipelineOverride,
    frame: int,
    read_from: int,
) -> None:
    clip = replace(CLIP, frames=40)
    request = replace(SMALL, num_frames=33, conditions=(clip,), pipeline_override=pipeline)
    plan = plan_video(request, "distilled", chunk_frames=25)
    chunk = plan.chunks[1]
    ((key, piece),) = condition_pieces(request, plan, chunk).items()
    (placed,) = chunk.conditions
    assert (placed.frame, piece.start_s, piece.count) == (frame, read_from / request.fps, placed.frames)
    shown = moving(40)[read_from:][: piece.count]
    before = HandOff(frames=torch.from_numpy(moving(17)))

    def made(shown: NDArray[np.uint8]) -> torch.Tensor:
        return denoise_chunk(models, request, plan, chunk, {key: shown}, before, Silent(), PromptCache(0))[1].video

    first = made(shown)
    assert forwards == [chunk.stage_1_tokens] * 8 + [chunk.stage_2_tokens] * 3
    # Four latents of the chunk of 1 × 2 tokens; then those of the video, from its place on.
    assert positions[0][8, 0] * request.fps == pytest.approx(frame)
    assert not torch.equal(first, made(255 - shown))


def read(piece: Piece | None, video: Path, plan: VideoPlan) -> torch.Tensor | None:
    if piece is None:
        return None
    return torch.from_numpy(
        read_clip(video, start_s=piece.start_s, count=piece.count, fps=plan.fps, fit=piece.fit, field=piece.field)
    )


def make(
    models: VideoModels,
    request: VideoRequest,
    video: Path,
    folder: Path,
    *,
    chunk_frames: int = 41,
    observer: Recorder | None = None,
) -> Path:
    """All chunks of an extension or a retake, and their joining."""
    plan = plan_video(request, "distilled", chunk_frames=chunk_frames)
    lead = read(lead_piece(request, plan), video, plan)
    before = None if lead is None else HandOff(frames=lead)
    files: list[ChunkFiles] = []
    for number, chunk in enumerate(plan.chunks):
        files.append(
            ChunkFiles(
                segment=folder / f"{number}.mp4", sound=folder / f"{number}.npy", hand_off=folder / f"{number}.end"
            )
        )
        trail = read(trail_piece(request, plan), video, plan) if number == len(plan.chunks) - 1 else None
        if trail is not None:
            before = replace(before or HandOff(), after=trail, after_frame=chunk.span.overlap + chunk.span.kept)
        make_chunk(
            models, request, plan, chunk, {}, before, Silent(), files[-1], prompts=PromptCache(0), tiling=Tiling()
        )
        before = load_hand_off(files[-1].hand_off) if number < len(plan.chunks) - 1 else None

    @contextlib.contextmanager
    def segment(number: int) -> Iterator[Segment]:
        yield Segment(video=files[number].segment, sound=files[number].sound)

    result = join_chunks(
        request,
        plan,
        segment,
        observer or Recorder(),
        folder / "video.mp4",
        model=models.name,
        sample_rate=models.audio_sample_rate,
        around=video if request.retake else None,
    )
    return result.path


@pytest.mark.parametrize(
    ("frames", "handoff", "chunks"), [(1, Handoff.REENCODE, 1), (12, Handoff.LATENT, 1), (40, Handoff.REENCODE, 3)]
)
def test_a_video_is_continued(
    models: VideoModels, video: Path, tmp_path: Path, frames: int, handoff: Handoff, chunks: int
) -> None:
    extension = Extension(asset_id="video", frames=60, seconds=60 / 25)
    request = replace(SMALL, num_frames=frames, extension=extension, handoff=handoff)
    plan = plan_video(request, "distilled", chunk_frames=41)
    assert [chunk.span.overlap for chunk in plan.chunks] == [25] * chunks
    assert [notice.code for notice in plan.notices if notice.code == "HANDOFF_REENCODED"] == (
        ["HANDOFF_REENCODED"] if handoff is Handoff.LATENT else []
    )
    piece = lead_piece(request, plan)
    assert piece is not None
    assert (piece.start_s, piece.count) == (pytest.approx(35 / 25), 25)
    path = make(models, request, video, tmp_path)
    made = decode_file(path)
    assert made.shape == (frames, 64, 128, 3)
    with av.open(str(path)) as container:
        audio = container.streams.audio[0]
        assert audio.duration is not None
        assert audio.time_base is not None
        assert float(audio.duration * audio.time_base) == pytest.approx(frames / 25, abs=0.5 / 25)
    # It follows from the video's end.
    other = write(tmp_path / "other.mp4", 255 - moving(60))
    (tmp_path / "second").mkdir()
    assert not np.array_equal(made, decode_file(make(models, request, other, tmp_path / "second")))


def test_a_short_video_is_continued_from_what_it_has(models: VideoModels, tmp_path: Path) -> None:
    short = write(tmp_path / "short.mp4", moving(12))
    extension = Extension(asset_id="video", frames=12, seconds=12 / 25)
    request = replace(SMALL, num_frames=8, extension=extension)
    (chunk,) = plan_video(request, "distilled").chunks
    assert (chunk.span.overlap, chunk.span.kept, chunk.span.frames) == (9, 8, 17)
    assert len(decode_file(make(models, request, short, tmp_path))) == 8


def payloads(path: Path) -> list[bytes]:
    """The bytes of each video packet, in their order."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize(
    ("first", "last", "kept_before", "kept_after", "chunks"),
    [
        # Within a group of pictures: it begins at 25 and the next at 50.
        (30, 40, 25, 50, 1),
        # Exactly one group.
        (25, 49, 25, 50, 2),
        (0, 7, 0, 25, 1),
        (55, 59, 50, 60, 1),
        (0, 59, 0, 60, 3),
        (20, 54, 0, 60, 2),
    ],
)
def test_frames_outside_of_a_retake_are_the_same_packets(
    models: VideoModels,
    video: Path,
    tmp_path: Path,
    first: int,
    last: int,
    kept_before: int,
    kept_after: int,
    chunks: int,
) -> None:
    request = replace(
        SMALL, num_frames=60, retake=Retake(asset_id="video", frames=60, first_frame=first, last_frame=last)
    )
    plan = plan_video(request, "distilled", chunk_frames=41)
    assert len(plan.chunks) >= chunks
    assert plan.new_frames == last - first + 1
    observer = Recorder()
    path = make(models, request, video, tmp_path, observer=observer)
    was, now = payloads(video), payloads(path)
    assert len(now) == 60
    assert now[:kept_before] == was[:kept_before]
    assert now[kept_after:] == was[kept_after:]
    facts = track_facts(path, 25)
    assert facts.regular
    assert {first, kept_before} <= set(facts.keyframes)
    before, after = decode_file(video), decode_file(path)
    assert after.shape == before.shape
    assert np.array_equal(after[:kept_before], before[:kept_before])
    assert np.array_equal(after[kept_after:], before[kept_after:])
    outside = [*range(kept_before, first), *range(last + 1, kept_after)]
    error = np.abs(after.astype(float) - before).mean(axis=(1, 2, 3))
    assert all(error[i] < 4 for i in outside), "encoded once more"
    assert all(error[i] > 8 for i in range(first, last + 1)), "anew"
    assert [code for code, _ in observer.notices] == (["FRAMES_REENCODED"] if outside else [])
    sound = np.concatenate(list(read_sound(path, sample_rate=RATE, field="")), axis=1)
    old = np.concatenate(list(read_sound(video, sample_rate=RATE, field="")), axis=1)
    assert abs(sound.shape[1] - 60 * RATE // 25) <= 1024
    # Beyond the fades it is the old one.
    low, high = (max(0, first - 26)) * RATE // 25, min(60, last + 27) * RATE // 25
    for part in (slice(2048, low), slice(high, 60 * RATE // 25 - 2048)):
        if part.start < part.stop:
            assert np.abs(sound[:, part] - old[:, part]).mean() < 0.02


def test_a_retake_of_a_silent_video_is_silent_and_of_a_foreign_one_encoded_again(
    models: VideoModels, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign.mp4"
    with av.open(str(foreign), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        stream.time_base = Fraction(1, 25)
        for image in moving(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    request = replace(SMALL, num_frames=20, retake=Retake(asset_id="video", frames=20, first_frame=8, last_frame=11))
    observer = Recorder()
    path = make(models, request, foreign, tmp_path, observer=observer)
    assert len(decode_file(path)) == 20
    assert [code for code, _ in observer.notices] == ["FRAMES_REENCODED"]
    assert "0 to 7 and 12 to 19" in observer.notices[0][1]
    with av.open(str(path)) as container:
        assert not container.streams.audio


def test_conditions_of_a_retake_lie_in_its_span() -> None:
    retake = Retake(asset_id="video", frames=60, first_frame=30, last_frame=40)
    image = Condition(asset_id="start", kind="image", frame_index=34)
    request = replace(SMALL, num_frames=60, retake=retake, conditions=(image,))
    (chunk,) = plan_video(request, "distilled").chunks
    assert [placed.frame for placed in chunk.conditions] == [25 + 4]
    for outside in (29, 41):
        with pytest.raises(InvalidArgument, match="30 to 40"):
            plan_video(replace(request, conditions=(replace(image, frame_index=outside),)), "distilled")


def spans(plan: VideoPlan) -> Sequence[tuple[int, int, int]]:
    return [(chunk.span.overlap, chunk.span.kept, chunk.span.frames) for chunk in plan.chunks]


@pytest.mark.parametrize(
    ("first", "last", "wanted", "trail"),
    [
        (50, 59, [(25, 10, 65)], 25),
        # The frames that are led to would not fit: one more chunk takes the end.
        (50, 140, [(25, 88, 113), (25, 3, 57)], 25),
        (50, 199, [(25, 96, 121), (25, 54, 105)], 25),
        (3, 299, [(1, 120, 121), (25, 96, 121), (25, 80, 105), (25, 1, 57)], 25),
        (0, 299, [(0, 121, 121), (25, 96, 121), (25, 83, 113)], 0),
    ],
)
def test_chunks_of_a_retake(first: int, last: int, wanted: list[tuple[int, int, int]], trail: int) -> None:
    retake = Retake(asset_id="video", frames=300 if trail == 0 else 400, first_frame=first, last_frame=last)
    plan = plan_video(replace(SMALL, num_frames=retake.frames, retake=retake), "distilled")
    assert spans(plan) == wanted
    assert plan.trail == trail
