from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from milimo_video.encode import Mp4Writer, crop_centre, read_tags, write_thumbnail
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RATE = 24_000


def moving_square(frames: int, width: int, height: int) -> NDArray[np.uint8]:
    """A bright square that moves over a gradient."""
    video = np.zeros((frames, height, width, 3), np.uint8)
    video[..., 2] = np.linspace(0, 200, width, dtype=np.uint8)
    for i in range(frames):
        x, y = i % max(1, width - 8), i % max(1, height - 8)
        video[i, y : y + 8, x : x + 8] = (250, 220, 30)
    return video


def tone(samples: int) -> NDArray[np.float32]:
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(samples) / RATE)
    return np.stack([wave, -wave]).astype(np.float32)


def write(
    path: Path, frames: int, width: int = 64, height: int = 48, fps: int = 25, made: tuple[int, int] = (64, 64)
) -> NDArray[np.uint8]:
    video = moving_square(frames, *made)
    with Mp4Writer(
        path, width=width, height=height, fps=fps, sample_rate=RATE, comment='{"seed":1}', description="a square"
    ) as writer:
        for start in range(0, frames, 16):
            writer.write_frames(crop_centre(video[start : start + 16], width, height))
        writer.write_audio(tone(round(frames * RATE / fps)))
    return video


def boxes(path: Path) -> list[str]:
    """Names of an MP4 file's top-level boxes."""
    data, at, names = path.read_bytes(), 0, []
    while at < len(data):
        names.append(data[at + 4 : at + 8].decode())
        at += int.from_bytes(data[at : at + 4], "big")
    return names


@pytest.mark.parametrize(
    ("frames", "width", "height", "fps"), [(1, 64, 64, 25), (2, 2, 2, 24), (50, 62, 46, 30), (121, 64, 48, 60)]
)
def test_file_has_what_was_written(tmp_path: Path, frames: int, width: int, height: int, fps: int) -> None:
    path = tmp_path / "video.mp4"
    write(path, frames, width, height, fps)
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.pix_fmt, audio.codec_context.name) == ("h264", "yuv420p", "aac")
        assert (audio.rate, audio.channels) == (RATE, 2)
        assert video.average_rate == fps
        assert video.duration is not None
        assert audio.duration is not None
        assert video.time_base is not None
        assert audio.time_base is not None
        assert float(video.duration * video.time_base) == pytest.approx(frames / fps)
        assert float(audio.duration * audio.time_base) == pytest.approx(frames / fps, abs=0.5 / fps)
        pictures = list(container.decode(video=0))
    assert [(picture.width, picture.height) for picture in pictures] == [(width, height)] * frames
    assert [picture.pts * picture.time_base * fps for picture in pictures] == list(range(frames))
    assert pictures[0].colorspace == 1


def test_picture_is_cropped_around_the_centre_and_survives(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    video = write(path, 30, 48, 32, made=(64, 64))
    with av.open(str(path)) as container:
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    wanted = video[:, 16:48, 8:56].astype(float)
    assert np.abs(decoded - wanted).mean() < 6
    shifted = video[:, :32, :48].astype(float)
    assert np.abs(decoded - shifted).mean() > 10


def test_sound_survives(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    write(path, 25)
    with av.open(str(path)) as container:
        decoded = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    wanted = tone(RATE)
    assert 0 <= decoded.shape[1] - RATE < 1024
    assert np.abs(decoded[:, 2048:20_000] - wanted[:, 2048:20_000]).mean() < 0.02


def test_index_comes_before_the_data(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    write(path, 25)
    names = boxes(path)
    assert names.index("moov") < names.index("mdat")


@pytest.mark.parametrize("fps", [24, 60])
def test_keyframe_at_least_once_a_second(tmp_path: Path, fps: int) -> None:
    path = tmp_path / "video.mp4"
    write(path, 150, fps=fps)
    with av.open(str(path)) as container:
        keys = [i for i, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    assert keys[0] == 0
    assert all(after - before <= fps for before, after in pairwise([*keys, 150]))


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first.mp4", tmp_path / "second.mp4"
    write(first, 40)
    write(second, 40)
    assert first.read_bytes() == second.read_bytes()


def test_tags_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    text = 'Ein "Ball" rollt 🎬\n' * 500
    with Mp4Writer(path, width=16, height=16, fps=25, sample_rate=None, comment=text, description="日本") as writer:
        writer.write_frames(moving_square(3, 16, 16))
    tags = read_tags(path)
    assert tags["comment"] == text
    assert tags["description"] == "日本"
    assert "creation_time" not in tags
    assert "encoder" not in tags


def test_failure_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> None:
        with Mp4Writer(
            tmp_path / "video.mp4", width=16, height=16, fps=25, sample_rate=RATE, comment="", description=""
        ) as writer:
            writer.write_frames(moving_square(30, 16, 16))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("size", "expected"), [((256, 128), (64, 32)), ((250, 130), (62, 32)), ((2, 2), (1, 1))])
def test_thumbnail_is_a_quarter(tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    path = tmp_path / "thumbnail.jpg"
    write_thumbnail(moving_square(1, *size)[0], path)
    with Image.open(path) as image:
        assert (image.format, image.size) == ("JPEG", expected)
