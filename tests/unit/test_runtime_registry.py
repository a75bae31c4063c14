"""Installed models: what is there, what is not, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from milimo_runtime.errors import ModelMissing, NotFound
from milimo_runtime.registry import InstalledModel, ModelFootprint, Registry, write_manifest

if TYPE_CHECKING:
    from pathlib import Path

ADVICE = "`milimo models pull` gets it"


def install(models: Path, name: str = "ltx-2", family: str = "real") -> Path:
    root = models / family / name
    (root / "vae").mkdir(parents=True)
    (root / "config.json").write_text("{}")
    (root / "vae/weights.safetensors").write_bytes(b"weights")
    (root / "vae/extra.safetensors").write_bytes(b"more")
    manifest = {
        "name": name,
        "family": family,
        "purpose": "video",
        "checkpoint": "distilled",
        "license": "free",
        "note": "",
        "advice": ADVICE,
    }
    write_manifest(root, manifest, footprints=[ModelFootprint(name="bf16", bytes=7)])
    return root


def statuses(model: InstalledModel, *, hashes: bool = False) -> dict[str, str]:
    return {found.file.path: found.status for found in model.check(hashes=hashes)}


def test_a_whole_model(tmp_path: Path) -> None:
    root = install(tmp_path)
    model = Registry(tmp_path, "real").require("ltx-2")
    assert (model.root, model.manifest.footprints) == (root, [ModelFootprint(name="bf16", bytes=7)])
    assert statuses(model, hashes=True) == {
        "config.json": "ok",
        "vae/extra.safetensors": "ok",
        "vae/weights.safetensors": "ok",
    }
    assert [file.bytes for file in model.manifest.files] == [2, 4, 7]


@pytest.mark.parametrize(
    ("content", "quick", "thorough"),
    [(None, "missing", "missing"), (b"short", "wrong size", "wrong size"), (b"WEIGHTS", "ok", "wrong hash")],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes | None, quick: str, thorough: str) -> None:
    file = install(tmp_path) / "vae/weights.safetensors"
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    registry = Registry(tmp_path, "real")
    model = registry.model("ltx-2")
    assert statuses(model)["vae/weights.safetensors"] == quick
    assert statuses(model, hashes=True)["vae/weights.safetensors"] == thorough
    if quick == "ok":
        registry.require("ltx-2")
        return
    with pytest.raises(ModelMissing) as caught:
        registry.require("ltx-2")
    for part in ("real/ltx-2", "vae/weights.safetensors", quick, ADVICE):
        assert part in caught.value.message
    assert caught.value.metadata == {"model": "ltx-2", "family": "real"}


@pytest.mark.parametrize(
    ("family", "command"), [("tiny", "models install tiny"), ("shapes", "models install shapes"), ("real", "verify")]
)
def test_a_model_that_is_not_installed(tmp_path: Path, family: str, command: str) -> None:
    with pytest.raises(ModelMissing) as caught:
        Registry(tmp_path, family).require("ltx-2")
    assert command in caught.value.message
    assert str(tmp_path) in caught.value.message


@pytest.mark.parametrize("name", ["", ".", "..", "../real/ltx-2", "ltx-2/vae", "/etc", "LTX-2", "*"])
def test_a_name_is_not_a_path(tmp_path: Path, name: str) -> None:
    install(tmp_path)
    with pytest.raises(NotFound):
        Registry(tmp_path, "real").model(name)


def test_the_models_of_a_family_by_name(tmp_path: Path) -> None:
    for name, family in (("sam-3", "real"), ("flux-2", "real"), ("ltx-2", "tiny")):
        install(tmp_path, name, family)
    (tmp_path / "real/unfinished").mkdir()
    assert [model.manifest.name for model in Registry(tmp_path, "real").models()] == ["flux-2", "sam-3"]
    assert Registry(tmp_path, "nowhere").models() == []
