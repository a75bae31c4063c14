"""What a finished job leaves: files on this machine, their paths on stdout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from milimo.cli_output import as_document
from milimo.cli_progress import follow, require_success

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milimo.cli_session import Session
    from milimo.v1.assets_pb2 import Asset
    from milimo.v1.jobs_pb2 import Job

SUFFIXES: Final = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "audio/wav": ".wav",
    "audio/flac": ".flac",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "application/json": ".json",
}


def suffix_of(asset: Asset) -> str:
    """The usual suffix of the asset's files."""
    return SUFFIXES.get(asset.media_type, ".bin")


def out_paths(assets: Sequence[Asset], out: Path | None, stem: str) -> list[Path]:
    """Where each asset goes: `out` itself for a single one; numbered when there are several; in `out` when it is a
    folder; without `out` in the current folder under `stem`."""
    base = Path(stem) if out is None else out / stem if out.is_dir() else out
    if len(assets) == 1:
        return [base if base.suffix else base.with_suffix(suffix_of(assets[0]))]
    return [
        base.with_name(f"{base.stem}-{number}{base.suffix or suffix_of(asset)}")
        for number, asset in enumerate(assets, 1)
    ]


def check_out(out: Path | None) -> None:
    """Refuses a place that cannot be written before the work begins.

    Raises:
        typer.BadParameter: when the folder does not exist.
    """
    if out is not None and not out.is_dir() and not out.resolve().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {out.parent}", param_hint="--out")


def finish(session: Session, job: Job, *, out: Path | None, wait: bool, title: str) -> None:
    """Waits for a job that was submitted and fetches its results; or only says its id.

    Raises:
        typer.Exit: 1 when the job did not succeed, 130 when the user stopped watching.
    """
    if not wait:
        session.output.document({"job": as_document(job), "files": []})
        session.output.text(job.id)
        session.output.note(f"watch it: `milimo jobs watch {job.id}`")
        return
    session.output.note(f"job {job.id}")
    job = follow(session, job.id, title=title)
    files = []
    if job.assets:
        for asset, path in zip(job.assets, out_paths(job.assets, out, f"milimo-{job.id[:8]}"), strict=True):
            files.append(session.client.download(asset.id, path))
    session.output.document({"job": as_document(job), "files": [str(path) for path in files]})
    require_success(session, job)
    for path in files:
        session.output.text(str(path))
