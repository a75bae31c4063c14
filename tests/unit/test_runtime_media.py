"""The media store on a disk: whole files only, spans of them, and nothing outside its folder."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from milimo_runtime import media as media_module
from milimo_runtime.errors import NotFound
from milimo_runtime.media import MediaStore, asset_key, work_key

if TYPE_CHECKING:
    from pathlib import Path

KEY = asset_key("p1", "generated", "a1", "mp4")
MIB = 1 << 20


@pytest.fixture(params=["media", "with space", "100%25 ä#?"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


@pytest.fixture
def media(root: Path) -> MediaStore:
    return MediaStore(root.as_uri())


def put(media: MediaStore, tmp_path: Path, data: bytes, key: str = KEY) -> None:
    path = tmp_path / "upload"
    path.write_bytes(data)
    media.publish(path, key)
    assert not path.exists()


def test_a_published_file_is_read_back(media: MediaStore, root: Path, tmp_path: Path) -> None:
    data = bytes(range(256)) * (MIB // 128)
    put(media, tmp_path, data)
    blocks = list(media.read(KEY))
    assert b"".join(blocks) == data
    assert all(len(block) <= MIB for block in blocks)
    assert (root / KEY).read_bytes() == data
    with media.local(KEY, scratch=tmp_path) as path:
        assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("offset", "limit"), [(0, 1), (1, 0), (99, 1), (99, 50), (100, 0), (50, 25), (0, 1000), (MIB - 1, 2)]
)
def test_spans(media: MediaStore, tmp_path: Path, offset: int, limit: int) -> None:
    data = bytes(index % 251 for index in range(100 if offset <= 100 else 2 * MIB))
    put(media, tmp_path, data)
    assert b"".join(media.read(KEY, offset=offset, limit=limit)) == data[offset:][: limit or None]


def test_what_a_job_keeps_goes_with_it_alone(media: MediaStore, root: Path, tmp_path: Path) -> None:
    mine, other = work_key("p1", "j1", "chunk-1", "mp4"), work_key("p1", "j11", "chunk-1", "mp4")
    for key in (mine, other, KEY):
        put(media, tmp_path, b"data", key)
        assert media.exists(key)
    media.delete_work("p1", "j1")
    # Another time, and for a job that kept nothing.
    media.delete_work("p1", "j1")
    assert [media.exists(key) for key in (mine, other, KEY)] == [False, True, True]
    assert not (root / mine).parent.exists()
    for parts in (("..", "j1"), ("p1", ".."), ("p1", "")):
        with pytest.raises(ValueError, match="part of a key"):
            media.delete_work(*parts)


def test_an_empty_file(media: MediaStore, tmp_path: Path) -> None:
    put(media, tmp_path, b"")
    assert list(media.read(KEY)) == []


def test_a_file_is_replaced_as_a_whole(media: MediaStore, tmp_path: Path) -> None:
    """Whoever reads while another version is published sees the old one or the new one."""
    contents = [bytes([number]) * 300_000 for number in range(30)]
    put(media, tmp_path, contents[0])
    seen: list[bytes] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            with media.local(KEY, scratch=tmp_path) as path:
                seen.append(path.read_bytes())

    reader = threading.Thread(target=watch)
    reader.start()
    for content in contents[1:]:
        put(media, tmp_path, content)
    done.set()
    reader.join()
    assert seen
    assert all(content in contents for content in seen)


def test_a_file_from_another_file_system_arrives_as_a_whole(
    media: MediaStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "upload"
    path.write_bytes(b"film")
    replace = type(path).replace

    def across(source: Path, target: Path) -> Path:
        if source == path:
            raise OSError(18, "Invalid cross-device link")
        return replace(source, target)

    monkeypatch.setattr(type(path), "replace", across)
    media.publish(path, KEY)
    assert (root / KEY).read_bytes() == b"film"
    assert not path.exists()
    assert [entry.name for entry in (root / KEY).parent.iterdir()] == ["a1.mp4"]


def test_a_copy_that_fails_leaves_nothing_behind(
    media: MediaStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "upload"
    path.write_bytes(b"film")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def across(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    with monkeypatch.context() as patched:
        patched.setattr(type(path), "replace", across)
        patched.setattr(media_module.shutil, "copyfile", full)
        with pytest.raises(OSError, match="No space"):
            media.publish(path, KEY)
    assert path.exists()
    assert list((root / KEY).parent.iterdir()) == []


def test_small_data_is_written_like_any_file(media: MediaStore, root: Path, tmp_path: Path) -> None:
    media.write(b"jpeg", KEY, scratch=tmp_path / "scratch")
    assert b"".join(media.read(KEY)) == b"jpeg"
    assert list((tmp_path / "scratch").iterdir()) == []
    # Readable to whom any new file is.
    plain = tmp_path / "plain"
    plain.touch()
    assert (root / KEY).stat().st_mode == plain.stat().st_mode


def test_missing_files(media: MediaStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        list(media.read(KEY))
    with pytest.raises(NotFound), media.local(KEY, scratch=tmp_path):
        pass
    media.delete(KEY)
    put(media, tmp_path, b"x")
    media.delete(KEY)
    media.delete(KEY)
    with pytest.raises(NotFound):
        list(media.read(KEY))


def test_deleting_a_project_deletes_its_files_and_no_others(media: MediaStore, root: Path, tmp_path: Path) -> None:
    keys = [asset_key(project, folder, "a", "png") for project in ("p1", "p10") for folder in ("assets", "thumbnails")]
    for key in keys:
        put(media, tmp_path, b"x", key)
    media.delete_project("p1")
    media.delete_project("never-was")
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png")) == keys[2:]
    assert not (root / "projects/p1").exists()


@pytest.mark.parametrize("part", ["", ".", "..", "../p2", "a/b", "a\\b", "a\0", "ä", "%2e%2e", "a b"])
def test_a_key_never_leads_elsewhere(media: MediaStore, root: Path, tmp_path: Path, part: str) -> None:
    put(media, tmp_path, b"x")
    with pytest.raises(ValueError, match="key"):
        media.delete_project(part)
    for parts in (
        (part, "assets", "a", "png"),
        ("p", part, "a", "png"),
        ("p", "assets", part, "png"),
        ("p", "assets", "a", part),
    ):
        with pytest.raises(ValueError, match="key"):
            asset_key(*parts)
    assert (root / KEY).exists()
