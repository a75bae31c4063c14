"""The tiny checkpoint, written and loaded once for all tests of the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from milimo_runtime.device import device_plan
from milimo_tiny.ltx2 import write_ltx2
from milimo_video.models import VideoModels, load_models

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="package")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "ltx2"
    write_ltx2(path)
    return path


@pytest.fixture(scope="package")
def models(root: Path) -> VideoModels:
    return load_models(root, name="ltx2-tiny", checkpoint="distilled", devices=device_plan("cpu"))


@pytest.fixture
def forwards(models: VideoModels) -> Iterator[list[int]]:
    """Tokens of each forward pass of the transformer, as they happen."""
    seen: list[int] = []
    transformer = models.text_to_video.transformer
    hook = transformer.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["hidden_states"].shape[1]), with_kwargs=True
    )
    yield seen
    hook.remove()
