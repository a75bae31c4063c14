"""The tiny checkpoint, written and loaded once for all tests of the engine."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from milimo_image.models import ImageModels, load_image_models
from milimo_runtime.device import device_plan
from milimo_tiny.flux2 import write_flux2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="package")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "flux2"
    write_flux2(path)
    return path


@pytest.fixture(scope="package")
def models(root: Path) -> ImageModels:
    return load_image_models(root, device_plan("cpu"))


@pytest.fixture
def forwards(models: ImageModels) -> Iterator[list[int]]:
    """Image tokens of each forward pass of the transformer, as they happen."""
    seen: list[int] = []
    hook = models.transformer.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["hidden_states"].shape[1]), with_kwargs=True
    )
    yield seen
    hook.remove()


@pytest.fixture
def calls(models: ImageModels) -> Iterator[Counter[str]]:
    """How often the text encoder and the autoencoder's two halves ran."""
    seen: Counter[str] = Counter()
    modules = {"text": models.text_encoder, "encoder": models.vae.encoder, "decoder": models.vae.decoder}
    hooks = [
        module.register_forward_hook(lambda *_, name=name: seen.update([name])) for name, module in modules.items()
    ]
    yield seen
    for hook in hooks:
        hook.remove()
