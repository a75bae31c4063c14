"""Configuration: environment over file over defaults; logs in one form."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from milimo_runtime.logs import JsonFormatter, TextFormatter, current_job
from milimo_runtime.settings import MeshSettings, ServiceSettings
from pydantic import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("MILIMO_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def write(text: str) -> None:
        path = tmp_path / "milimo.toml"
        path.write_text(text)
        monkeypatch.setenv("MILIMO_CONFIG", str(path))

    return write


def test_defaults_need_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings = ServiceSettings()
    assert settings.home == tmp_path / "milimo"
    assert settings.database == f"sqlite:///{tmp_path}/milimo/milimo.sqlite"
    assert settings.engine_url("video") == f"sqlite:///{tmp_path}/milimo/engine/video-local.sqlite"
    assert settings.media == f"file://{tmp_path}/milimo/media"
    assert settings.models == tmp_path / "milimo/models"
    assert all(
        getattr(settings, name).startswith("127.0.0.1:")
        for name in MeshSettings.model_fields
        if name.endswith("_address")
    )


def test_the_environment_wins_over_the_file_and_the_file_over_defaults(
    config: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    config('home = "/from/file"\nlog_level = "DEBUG"\nimage_address = "127.0.0.1:1"\nunknown = 1\n')
    monkeypatch.setenv("MILIMO_LOG_LEVEL", "ERROR")
    settings = ServiceSettings(image_address="127.0.0.1:2")
    assert (settings.home, settings.log_level, settings.image_address) == (Path("/from/file"), "ERROR", "127.0.0.1:2")
    assert settings.video_address == "127.0.0.1:50051"


def test_a_file_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MILIMO_CONFIG", str(tmp_path / "missing.toml"))
    with pytest.raises(FileNotFoundError, match=r"missing\.toml"):
        ServiceSettings()


def test_the_home_folder_may_begin_with_a_tilde(config: Callable[[str], None]) -> None:
    config('home = "~/milimo"\nmodels_dir = "~/models"\n')
    settings = ServiceSettings()
    assert settings.home == Path.home() / "milimo"
    assert settings.models == Path.home() / "models"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOG_LEVEL", "LOUD"),
        ("DEVICE", "tpu"),
        ("DRAIN_SECONDS", "-1"),
        ("TORCH_THREADS", "0"),
        ("JOB_RETENTION_DAYS", "x"),
    ],
)
def test_values_out_of_range_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"MILIMO_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        ServiceSettings()


def test_postgresql_holds_the_engines_tables_too(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql+psycopg://user:secret@host/milimo"
    monkeypatch.setenv("MILIMO_DATABASE_URL", url)
    settings = ServiceSettings()
    assert (settings.database, settings.engine_url("video")) == (url, url)
    monkeypatch.setenv("MILIMO_DATABASE_URL", "sqlite:////elsewhere/x.sqlite")
    assert ServiceSettings().engine_url("video") != "sqlite:////elsewhere/x.sqlite"


def record(**extra: object) -> logging.LogRecord:
    try:
        raise ValueError("no")
    except ValueError:
        made = logging.LogRecord("milimo.x", logging.INFO, "f.py", 1, "hello %s", ("world",), sys.exc_info())
    vars(made).update(extra)
    return made


def test_a_log_line_is_one_json_object() -> None:
    token = current_job.set("j1")
    try:
        text = JsonFormatter("video").format(record(action="loaded", path=Path("/x"), seconds=1.5))
    finally:
        current_job.reset(token)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["service"], line["level"], line["message"], line["action"]) == (
        "video",
        "INFO",
        "hello world",
        "loaded",
    )
    assert (line["path"], line["seconds"], line["job_id"]) == ("/x", 1.5, "j1")
    assert "ValueError: no" in line["exception"]


def test_a_log_line_for_people() -> None:
    text = TextFormatter().format(record(action="loaded"))
    assert "hello world" in text
    assert "action=loaded" in text


@pytest.mark.parametrize("frames", [1, 8, 120, 122])
def test_chunks_are_as_long_as_the_video_model_can_make(frames: int) -> None:
    with pytest.raises(ValidationError, match="video_chunk_frames"):
        ServiceSettings(video_chunk_frames=frames)
    assert ServiceSettings(video_chunk_frames=25).video_chunk_frames == 25
