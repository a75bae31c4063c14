"""The models that are installed: a manifest (`model.toml`) beside the files of each, and what of it is there.

A family of models is a folder of the models' directory, a model a folder of the family: `tiny/ltx-2/model.toml`.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import tomli_w

from milimo_runtime.errors import ModelMissing, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MANIFEST: Final = "model.toml"
# Of models that change others.
LORA_PURPOSES: Final = frozenset({"lora", "ic_lora"})


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A file of a model: its path below the model's folder, its size in bytes, its SHA-256 in hexadecimal or ""."""

    path: str
    bytes: int
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelFootprint:
    """One way to run a model: a name such as "bf16" and the peak bytes on the device."""

    name: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `model.toml` says of a model."""

    name: str
    family: str
    purpose: Literal["video", "image", "segmentation", "lora", "ic_lora"]
    checkpoint: Literal["distilled", "dev", "base", ""]
    license: str
    note: str
    advice: str
    footprints: Sequence[ModelFootprint]
    files: Sequence[ModelFile]
    # Pixels of what it makes when nobody says a size; 0: what the service has as its default.
    width: int = 0
    height: int = 0


@dataclass(frozen=True, kw_only=True)
class FileStatus:
    """A file of a model as it was found."""

    file: ModelFile
    status: Literal["ok", "missing", "wrong size", "wrong hash"]


@dataclass(frozen=True, kw_only=True)
class InstalledModel:
    """A model's manifest and the folder in which its files should be."""

    manifest: Manifest
    root: Path

    @property
    def full_name(self) -> str:
        """Family and name, such as "tiny/ltx-2"."""
        return f"{self.manifest.family}/{self.manifest.name}"

    def check(self, *, hashes: bool = False) -> Sequence[FileStatus]:
        """Looks at every file: its size, and with `hashes` its content, which takes seconds per gigabyte."""
        return [FileStatus(file=file, status=self._status(file, hashes)) for file in self.manifest.files]

    @property
    def is_complete(self) -> bool:
        """Whether every file is there, with its size."""
        return all(found.status == "ok" for found in self.check())

    def require_complete(self) -> None:
        """Raises ModelMissing, naming the first files that are not as they should be and how to get them."""
        wrong = [found for found in self.check() if found.status != "ok"]
        if wrong:
            named = ", ".join(f"{found.file.path} ({found.status})" for found in wrong[:3])
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise ModelMissing(
                f"the model {self.full_name} is incomplete: {named}{more}. {self.manifest.advice}",
                metadata={"model": self.manifest.name, "family": self.manifest.family},
            )

    def _status(self, file: ModelFile, hashes: bool) -> Literal["ok", "missing", "wrong size", "wrong hash"]:
        path = self.root / file.path
        if not path.is_file():
            return "missing"
        if path.stat().st_size != file.bytes:
            return "wrong size"
        if hashes and file.sha256 and sha256_of(path) != file.sha256:
            return "wrong hash"
        return "ok"


class Registry:
    """The models of one family."""

    def __init__(self, models_dir: Path, family: str) -> None:
        """`models_dir` holds a folder for each family."""
        self.root = models_dir / family
        self.family = family

    def models(self) -> Sequence[InstalledModel]:
        """All models of the family, by name."""
        return [_read(path) for path in sorted(self.root.glob(f"*/{MANIFEST}"))]

    def model(self, name: str) -> InstalledModel:
        """The model called `name`, such as "ltx-2". Raises NotFound."""
        path = self.root / name / MANIFEST
        if name not in {entry.parent.name for entry in self.root.glob(f"*/{MANIFEST}")}:
            raise NotFound("model", name, field="name")
        return _read(path)

    def require(self, name: str) -> InstalledModel:
        """The model, with all its files. Raises ModelMissing, saying how to get it."""
        try:
            model = self.model(name)
        except NotFound as error:
            advice = (
                f"`milimo models install {self.family}` puts it there"
                if self.family in ("shapes", "tiny")
                else "`milimo models pull` gets it, or copy its folder there, manifest and all; `milimo models verify` "
                "then checks it"
            )
            raise ModelMissing(
                f"the model {self.family}/{name} is not installed under {self.root.parent}: {advice}",
                metadata={"model": name, "family": self.family},
            ) from error
        model.require_complete()
        return model


@contextlib.contextmanager
def replacing(root: Path) -> Iterator[Path]:
    """A path to write a folder to, which takes the place of `root` at the end, whole or not at all.

    Somebody may be loading what is there.
    """
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    yield partial
    shutil.rmtree(root, ignore_errors=True)
    partial.rename(root)


def write_manifest(root: Path, manifest: Mapping[str, Any], *, footprints: Sequence[ModelFootprint]) -> None:
    """Writes the manifest of the files that lie below `root`, with their sizes and hashes.

    `manifest` holds the scalar fields of `Manifest`. The manifest is written last and at once, so that a model whose
    making was interrupted is not taken for a whole one.
    """
    files = []
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            name, size = path.relative_to(root).as_posix(), path.stat().st_size
            files.append(ModelFile(path=name, bytes=size, sha256=sha256_of(path)))
    save_manifest(root, manifest, footprints=footprints, files=files)


def save_manifest(
    root: Path, manifest: Mapping[str, Any], *, footprints: Sequence[ModelFootprint], files: Sequence[ModelFile]
) -> None:
    """Writes a manifest at once; its files lie below `root` and are not looked at. The rest as `write_manifest`."""
    value = {
        **manifest,
        "footprints": [{"name": footprint.name, "bytes": footprint.bytes} for footprint in footprints],
        "files": [{"path": file.path, "bytes": file.bytes, "sha256": file.sha256} for file in files],
    }
    partial = root / f".{MANIFEST}.partial"
    partial.write_text(tomli_w.dumps(value), encoding="utf-8")
    partial.replace(root / MANIFEST)


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal; takes seconds per gigabyte."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _read(path: Path) -> InstalledModel:
    value = tomllib.loads(path.read_text(encoding="utf-8"))
    footprints = [ModelFootprint(**footprint) for footprint in value.pop("footprints")]
    files = [ModelFile(**file) for file in value.pop("files")]
    return InstalledModel(manifest=Manifest(**value, footprints=footprints, files=files), root=path.parent)
