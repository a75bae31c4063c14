"""Files of model repositories, by huggingface_hub: what there is, and a download that goes on where it was cut.

Only the commands `milimo models pull` and `add-lora` come here: no service downloads anything.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from milimo_runtime.registry import ModelFile, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from huggingface_hub.hf_api import ModelInfo

# Left free on the disk.
RESERVE_BYTES: Final = 1024**3
_PARTIAL: Final = ".partial"


class PullFailed(Exception):
    """The message says what was asked, what came back, and what to do."""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file of a repository at one commit, and where it goes below the model's folder."""

    repo: str
    commit: str
    name: str
    path: str
    bytes: int
    # Of the content, where the repository tells it; of its Git object otherwise, which is only a name here.
    sha256: str
    blob: str

    @property
    def partial(self) -> str:
        """Path of what is there of it so far: of this content and no other."""
        return f"{self.path}.{(self.sha256 or self.blob or self.commit)[:16]}{_PARTIAL}"


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository: the chosen files, and what it says of its licence."""

    name: str
    commit: str
    license: str
    license_link: str
    # The publisher wants an account that has accepted the terms.
    gated: bool
    files: Sequence[RemoteFile]


def look_up(repo: str, patterns: Sequence[str], folder: str = "") -> Repository:
    """The files of a repository that match; each pattern must match one.

    Raises:
        PullFailed: there is no such repository or file, it may not be seen, or nothing answers.
    """
    from huggingface_hub import HfApi

    with _told(repo):
        info = HfApi().model_info(repo, files_metadata=True)
    chosen = []
    for pattern in patterns:
        found = [entry for entry in info.siblings or () if _matches(entry.rfilename, pattern)]
        if not found and not pattern.startswith("*"):
            raise PullFailed(f"{repo} has no file {pattern} (commit {info.sha}); its publisher may have renamed it")
        chosen += [entry for entry in found if entry not in chosen]
    files = [_remote(repo, info.sha or "main", entry, folder) for entry in chosen]
    if not files:
        raise PullFailed(f"{repo} has none of the files that are looked for: {', '.join(patterns)}")
    name, link = _license(info)
    return Repository(
        name=repo,
        commit=info.sha or "main",
        license=name,
        license_link=link,
        gated=bool(info.gated),
        files=files,
    )


def _matches(name: str, pattern: str) -> bool:
    """Like a shell: a star stops at a slash."""
    return name.count("/") == pattern.count("/") and fnmatchcase(name, pattern)


def _remote(repo: str, commit: str, entry: Any, folder: str) -> RemoteFile:
    path = PurePosixPath(folder) / entry.rfilename
    if path.is_absolute() or ".." in path.parts:
        raise PullFailed(f"{repo} names a file {entry.rfilename!r}, which would not lie in the model's folder")
    return RemoteFile(
        repo=repo,
        commit=commit,
        name=entry.rfilename,
        path=path.as_posix(),
        bytes=int(entry.size or 0),
        sha256=entry.lfs.sha256 if entry.lfs else "",
        blob=entry.blob_id or "",
    )


def _license(info: ModelInfo) -> tuple[str, str]:
    card: Any = info.card_data
    if card is None:
        return "unknown", ""
    named = card.get("license_name") or card.get("license") or "unknown"
    return str(named), str(card.get("license_link") or "")


def missing_bytes(root: Path, files: Sequence[RemoteFile]) -> int:
    """Bytes of these files that are not yet below `root`."""
    missing = 0
    for file in files:
        path, partial = root / file.path, root / file.partial
        if path.is_file() and path.stat().st_size == file.bytes:
            continue
        missing += file.bytes - (min(partial.stat().st_size, file.bytes) if partial.is_file() else 0)
    return missing


def require_room(root: Path, files: Sequence[RemoteFile]) -> None:
    """Raises PullFailed when the disk of `root` has no room for what is missing."""
    missing = missing_bytes(root, files)
    disk = next(folder for folder in (root, *root.parents) if folder.is_dir())
    free = shutil.disk_usage(disk).free
    if missing and missing + RESERVE_BYTES > free:
        raise PullFailed(
            f"the disk of {disk} has {free / 1e9:.1f} GB free; {missing / 1e9:.1f} GB are to come and "
            f"{RESERVE_BYTES / 1e9:.1f} GB stay free: make room, or name another folder with MILIMO_MODELS_DIR"
        )


def download(root: Path, file: RemoteFile, *, note: Callable[[str], None]) -> ModelFile:
    """Brings a file to its place below `root`, from where an earlier attempt was cut; whole, or not at all.

    Returns:
        The file as a manifest lists it, with the SHA-256 of what is on the disk.

    Raises:
        PullFailed: it may not be had, nothing answers, or what came is not what the repository says.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import get_hf_file_metadata, http_get
    from huggingface_hub.utils import build_hf_headers

    path, partial = root / file.path, root / file.partial
    if path.is_file() and path.stat().st_size == file.bytes:
        # Renamed here after it was checked, or somebody's own: then the hash tells.
        found = sha256_of(path)
        if not file.sha256 or found == file.sha256:
            return ModelFile(path=file.path, bytes=file.bytes, sha256=found)
        note(f"{file.path} has another content than {file.repo}: it is fetched anew")
    path.parent.mkdir(parents=True, exist_ok=True)
    begun = partial.stat().st_size if partial.is_file() else 0
    if begun > file.bytes:
        partial.unlink()
        begun = 0
    if begun:
        note(f"{file.path}: goes on after {begun / 1e9:.2f} of {file.bytes / 1e9:.2f} GB")
    with _told(file.repo):
        url = hf_hub_url(file.repo, file.name, revision=file.commit)
        headers = build_hf_headers(library_name="milimo")
        located = get_hf_file_metadata(url, headers=headers).location
        if urlsplit(located).netloc != urlsplit(url).netloc:
            # Where the content lies nobody needs to know who asks.
            headers.pop("authorization", None)
        # Appending keeps what is there when this is cut in turn.
        with partial.open("ab") as data:
            http_get(
                located,
                data,
                resume_size=begun,
                headers=headers,
                expected_size=file.bytes,
                displayed_filename=file.path,
            )
    found = sha256_of(partial)
    if file.sha256 and found != file.sha256:
        partial.unlink()
        raise PullFailed(
            f"{file.path} came with another content than {file.repo} says (SHA-256 {found[:16]}…, not "
            f"{file.sha256[:16]}…); it was removed: pull again"
        )
    partial.replace(path)
    return ModelFile(path=file.path, bytes=file.bytes, sha256=found)


@contextlib.contextmanager
def _told(repo: str) -> Iterator[None]:
    """What huggingface_hub raises, in words that say what to do."""
    import httpx2
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise PullFailed(
            f"{repo} is gated: accept its terms on its page with your account, then set HF_TOKEN to a token of that "
            "account that may read it, and pull again"
        ) from error
    except RepositoryNotFoundError as error:
        raise PullFailed(
            f"{repo} is not there, or not for this account (status {_status(error)}): check the name, and set HF_TOKEN "
            "when it is private or gated"
        ) from error
    except (EntryNotFoundError, RevisionNotFoundError) as error:
        raise PullFailed(f"{repo} does not have the file any more: {_first_line(error)}") from error
    except HfHubHTTPError as error:
        status = _status(error)
        advice = "the token in HF_TOKEN is not accepted" if status in (401, 403) else "try again later"
        raise PullFailed(f"{repo} answers with status {status}: {advice}") from error
    except OfflineModeIsEnabled as error:
        raise PullFailed("HF_HUB_OFFLINE is set: nothing is asked for; unset it to pull") from error
    except httpx2.HTTPError as error:
        raise PullFailed(
            f"the connection to {repo} was lost ({type(error).__name__}): what came is kept, and the same command goes "
            "on there"
        ) from error
    except OSError as error:
        raise PullFailed(f"{repo}: {_first_line(error)}; what came is kept: pull again") from error


def _status(error: Any) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
