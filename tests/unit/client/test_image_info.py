"""`milimo image info` reads what the image service writes, without an imaging library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from milimo.image_info import ImageInfo, read_image_info
from milimo_image.output import ImageMetadata, encode_image
from milimo_image.request import ImageFormat
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

PARAMETERS: dict[str, str | int | float | bool] = {
    "seed": 5,
    "guidance": 1.0,
    "autoencoder": "native",
    "negative_prompt": "grau, naïve 🙂",
}


def written(path: Path, prompt: str, image_format: ImageFormat) -> Path:
    metadata = ImageMetadata(prompt=prompt, parameters=PARAMETERS)
    path.write_bytes(encode_image(Image.new("RGB", (40, 30), "red"), metadata, image_format).data)
    return path


@pytest.mark.parametrize("image_format", list(ImageFormat))
@pytest.mark.parametrize("prompt", ["the sea", "naïve 🙂\nzwei", "x" * 10_000, "abc", "ab", ""])
def test_it_reads_what_the_service_writes(tmp_path: Path, image_format: ImageFormat, prompt: str) -> None:
    found = read_image_info(written(tmp_path / "image", prompt, image_format))
    assert found == ImageInfo(prompt=prompt, parameters=PARAMETERS)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
def test_files_that_say_nothing(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "image", name)
    assert read_image_info(tmp_path / "image") is None


@settings(max_examples=150, deadline=None)
@given(data=st.data(), image_format=st.sampled_from(list(ImageFormat)))
def test_damaged_files_end_in_nothing_or_in_text(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, image_format: ImageFormat
) -> None:
    path = written(tmp_path_factory.getbasetemp() / "damaged", "the sea", image_format)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(600, len(content) - 1)))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    found = read_image_info(path)
    assert found is None or isinstance(found.prompt, str)


def test_the_command(milimo: Callable[..., Any]) -> None:
    written(Path("image.png"), "the sea", ImageFormat.PNG)
    done = milimo("image", "info", "image.png")
    assert done.exit_code == 0
    assert "prompt\tthe sea" in done.stdout
    assert "seed\t5" in done.stdout
    assert json.loads(milimo("image", "info", "image.png", "--json").stdout) == {
        "prompt": "the sea",
        "parameters": PARAMETERS,
    }


def test_the_command_on_what_says_nothing(milimo: Callable[..., Any]) -> None:
    Path("text.png").write_text("this is no image")
    done = milimo("image", "info", "text.png")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "says nothing of its making" in done.stderr
    assert milimo("image", "info", "nothing.png").exit_code == 3
