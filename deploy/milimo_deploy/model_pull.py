"""Models of other people in the registry: those that are known by name, and LoRAs from a file or a repository."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from milimo_runtime.errors import MilimoError
from milimo_runtime.process_lock import AlreadyRuns, process_lock
from milimo_runtime.registry import ModelFile, ModelFootprint, Registry, save_manifest, write_manifest

from milimo_deploy.known_models import FAMILY, KNOWN_MODELS, KnownModel
from milimo_deploy.model_repository import (
    PullFailed,
    RemoteFile,
    Repository,
    download,
    look_up,
    missing_bytes,
    require_room,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from milimo_runtime.registry import Manifest

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_REPOSITORY: Final = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+):(?P<file>[^:]+\.safetensors)")
# Memory that a model takes beyond its files, where nobody has told more: a first estimate until it is measured.
_BEYOND_FILES: Final = 1.25


@dataclass(frozen=True, kw_only=True)
class PullPlan:
    """What a pull would bring."""

    name: str
    known: KnownModel
    root: Path
    repositories: Sequence[Repository]

    @property
    def files(self) -> Sequence[RemoteFile]:
        """All files."""
        return [file for repository in self.repositories for file in repository.files]

    @property
    def missing_bytes(self) -> int:
        """Bytes that are not there yet."""
        return missing_bytes(self.root, self.files)


def plan_pull(models_dir: Path, name: str) -> PullPlan:
    """Asks the repositories of a known model what they have. Raises PullFailed."""
    known = KNOWN_MODELS.get(name)
    if known is None:
        raise PullFailed(f"there is no known model {name!r}; known are {', '.join(KNOWN_MODELS)}")
    root = models_dir / FAMILY / known.installs_as
    installed = _installed(models_dir, known.installs_as)
    if installed is not None and installed.checkpoint != known.checkpoint:
        raise PullFailed(
            f"{FAMILY}/{known.installs_as} holds the {installed.checkpoint} checkpoint already, and {name} is "
            f"{known.checkpoint}: move {root} away first"
        )
    merged: dict[str, Repository] = {}
    for source in known.sources:
        found = look_up(source.repo, source.patterns, source.folder)
        earlier = merged.get(source.repo)
        merged[source.repo] = found if earlier is None else _joined(earlier, found)
    return PullPlan(name=name, known=known, root=root, repositories=list(merged.values()))


def _joined(one: Repository, other: Repository) -> Repository:
    return Repository(
        name=one.name,
        commit=one.commit,
        license=one.license,
        license_link=one.license_link,
        gated=one.gated,
        files=[*one.files, *other.files],
    )


def _installed(models_dir: Path, name: str) -> Manifest | None:
    models = {model.manifest.name: model.manifest for model in Registry(models_dir, FAMILY).models()}
    return models.get(name)


def pull(plan: PullPlan, *, note: Callable[[str], None]) -> None:
    """Brings all files and writes the manifest, last: until then the registry does not know the model.

    Raises:
        PullFailed: the disk has no room, another pull is at work, or a file could not be had. What came is kept.
    """
    plan.root.mkdir(parents=True, exist_ok=True)
    try:
        with process_lock(plan.root.parent.parent, f"pull-{plan.known.installs_as}"):
            require_room(plan.root, plan.files)
            files = {}
            for index, file in enumerate(plan.files, start=1):
                note(f"{index} of {len(plan.files)}: {file.path}, {file.bytes / 1e9:.2f} GB")
                files[file.path] = download(plan.root, file, note=note)
            _write(plan, files)
    except AlreadyRuns as error:
        raise PullFailed(str(error)) from error


def _write(plan: PullPlan, files: dict[str, ModelFile]) -> None:
    known = plan.known
    earlier = _installed(plan.root.parent.parent, known.installs_as)
    if earlier is not None:
        # Such as the other element type of the same checkpoint.
        files = {**{file.path: file for file in earlier.files if (plan.root / file.path).is_file()}, **files}
    footprints = dict(known.footprints) or {"bf16": int(sum(file.bytes for file in files.values()) * _BEYOND_FILES)}
    if earlier is not None:
        footprints = {footprint.name: footprint.bytes for footprint in earlier.footprints} | footprints
    licenses = dict.fromkeys(f"{repository.name}: {repository.license}" for repository in plan.repositories)
    commits = ", ".join(f"{repository.name} at {repository.commit[:12]}" for repository in plan.repositories)
    save_manifest(
        plan.root,
        {
            "name": known.installs_as,
            "family": FAMILY,
            "purpose": known.purpose,
            "checkpoint": known.checkpoint,
            "license": "; ".join(licenses),
            "note": f"From {commits}.",
            "advice": f"`milimo models pull {plan.name}` gets it again.",
        },
        # The best grade first, as the arbiter prefers it.
        footprints=[
            ModelFootprint(name=name, bytes=size)
            for name, size in sorted(footprints.items(), key=lambda entry: -entry[1])
        ],
        files=[files[path] for path in sorted(files)],
    )


@dataclass(frozen=True, kw_only=True)
class LoraSource:
    """Where a LoRA comes from: a file of this machine, or one of a repository."""

    path: Path | None
    repository: Repository | None


def find_lora_source(text: str) -> LoraSource:
    """Understands a path, or owner/repository:file.safetensors. Raises PullFailed."""
    path = Path(text)
    if path.is_file():
        return LoraSource(path=path, repository=None)
    match = _REPOSITORY.fullmatch(text)
    if match is None:
        raise PullFailed(
            f"there is no file {text}; a LoRA of a repository is written owner/repository:file.safetensors"
        )
    return LoraSource(path=None, repository=look_up(match["repo"], (match["file"],)))


def add_lora(
    models_dir: Path,
    family: str,
    name: str,
    source: LoraSource,
    *,
    in_context: bool,
    replace: bool,
    note: Callable[[str], None],
) -> str:
    """Puts a LoRA into the registry as a model of its own, when its file holds one and fits the installed video model.

    Returns:
        Its purpose: "lora" or "ic_lora".

    Raises:
        PullFailed: the name is taken or none, the file is no LoRA for LTX-2, or it could not be had.
    """
    if not _NAME.fullmatch(name):
        raise PullFailed(f"{name!r} is no name for a LoRA: letters, digits, '.', '_' and '-' are")
    root = models_dir / family / name
    if root.exists() and not replace:
        raise PullFailed(f"{root} exists already: give another name, or --replace it")
    if root.exists() and _purpose_at(models_dir, family, name) not in ("lora", "ic_lora"):
        raise PullFailed(f"{root} holds something else than a LoRA: give another name")
    # Beside the families: nobody takes it for a model before it is one.
    incoming = models_dir / ".incoming"
    staged = incoming / family / name
    staged.mkdir(parents=True, exist_ok=True)
    license_text = "unknown"
    if source.repository is not None:
        require_room(staged, source.repository.files)
        (file,) = source.repository.files
        download(staged, file, note=note)
        license_text = f"{source.repository.name}: {source.repository.license}"
    elif source.path is not None:
        shutil.rmtree(staged)
        staged.mkdir()
        shutil.copyfile(source.path, staged / source.path.name)
    manifest: dict[str, Any] = {
        "name": name,
        "family": family,
        "purpose": "ic_lora" if in_context else "lora",
        "checkpoint": "",
        "license": license_text,
        "note": "",
        "advice": "`milimo models add-lora` adds it again.",
    }
    write_manifest(staged, manifest, footprints=())
    manifest["purpose"] = _checked(models_dir, incoming, family, name)
    write_manifest(staged, manifest, footprints=())
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    staged.rename(root)
    return str(manifest["purpose"])


def _purpose_at(models_dir: Path, family: str, name: str) -> str:
    models = {model.manifest.name: model.manifest for model in Registry(models_dir, family).models()}
    return models[name].purpose if name in models else ""


def _checked(models_dir: Path, incoming: Path, family: str, name: str) -> str:
    """What kind of LoRA lies there. Raises PullFailed; what is none is removed."""
    from milimo_video.checkpoint_files import find_checkpoint, weight_shapes
    from milimo_video.installed import checkpoint_of
    from milimo_video.lora_file import find_lora, require_fit

    try:
        lora = find_lora(Registry(incoming, family), name, field="file")
        video = next((one for one in Registry(models_dir, family).models() if one.manifest.purpose == "video"), None)
        if video is not None:
            files = find_checkpoint(video.root, name=video.full_name, checkpoint=checkpoint_of(video))
            require_fit(lora, weight_shapes(files, name=video.full_name), model=video.full_name, field="file")
    except MilimoError as error:
        shutil.rmtree(incoming / family / name, ignore_errors=True)
        raise PullFailed(error.message) from error
    return "lora" if lora.reference is None else "ic_lora"
