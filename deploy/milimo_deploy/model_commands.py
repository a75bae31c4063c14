"""`milimo models pull` and `add-lora`: the only code that fetches anything, and only when somebody asks for it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from milimo import cli_errors
from milimo.cli_output import Output, size_text
from milimo.cli_session import JsonOption

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from milimo_deploy.model_repository import Repository

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", envvar="MILIMO_HOME", help="Folder of everything. Default: in the user's data folder."),
]
AcceptOption = Annotated[
    bool, typer.Option("--accept-license", help="You have read the licence that is shown, and accept it.")
]


def _models_dir(home: Path | None) -> Path:
    from milimo_runtime.settings import ServiceSettings, default_home

    return ServiceSettings(home=(home or default_home()).resolve()).models


@contextlib.contextmanager
def _failures(output: Output) -> Iterator[None]:
    """Errors become one line and an exit code."""
    from milimo_deploy.model_repository import PullFailed

    if not sys.stderr.isatty():
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
    try:
        yield
    except PullFailed as error:
        output.note(f"error: {error}")
        raise typer.Exit(cli_errors.FAILED) from error
    except KeyboardInterrupt as error:
        output.note("interrupted: what came is kept, and the same command goes on there")
        raise typer.Exit(cli_errors.INTERRUPTED) from error


def pull(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Such as ltx-2. Without one: list what is known.")
    ] = None,
    accept_license: AcceptOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Fetch a known model, go on where an earlier attempt was cut, and check its hashes.

    A gated repository needs an account that has accepted its terms, and a token of it in HF_TOKEN.
    """
    from milimo_deploy.known_models import KNOWN_MODELS
    from milimo_deploy.model_pull import plan_pull
    from milimo_deploy.model_pull import pull as fetch

    output = Output(json=json)
    if name is None:
        output.document({"models": [{"name": key, "what": one.what} for key, one in KNOWN_MODELS.items()]})
        output.table(
            ("name", "what", "license", "from"),
            [
                (key, one.what, one.license, ", ".join(dict.fromkeys(source.repo for source in one.sources)))
                for key, one in KNOWN_MODELS.items()
            ],
        )
        return
    models_dir = _models_dir(home)
    with _failures(output):
        plan = plan_pull(models_dir, name)
        _require_acceptance(output, plan.repositories, accept_license)
        output.note(f"{size_text(plan.missing_bytes)} of {size_text(sum(f.bytes for f in plan.files))} are to come")
        fetch(plan, note=output.note)
    output.document({"folder": str(plan.root), "files": [file.path for file in plan.files]})
    output.text(str(plan.root))


def add_lora(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What requests call it.")],
    source: Annotated[str, typer.Argument(metavar="FILE|REPOSITORY:FILE", help="A safetensors file.")],
    in_context: Annotated[
        bool, typer.Option("--in-context", help="It is an IC-LoRA whose file does not say so.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of the LoRA of this name.")] = False,
    family: Annotated[str | None, typer.Option(help="Such as real or shapes. Default: the one in use.")] = None,
    accept_license: AcceptOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Copy a LoRA into the registry, when it is one for the video model."""
    from milimo_runtime.settings import ServiceSettings

    from milimo_deploy.model_pull import add_lora as add
    from milimo_deploy.model_pull import find_lora_source

    output = Output(json=json)
    models_dir, chosen = _models_dir(home), family or ServiceSettings().model_family
    with _failures(output):
        found = find_lora_source(source)
        if found.repository is not None:
            _require_acceptance(output, [found.repository], accept_license)
        purpose = add(models_dir, chosen, name, found, in_context=in_context, replace=replace, note=output.note)
    output.document({"name": name, "family": chosen, "purpose": purpose, "folder": str(models_dir / chosen / name)})
    output.text(str(models_dir / chosen / name))


def _require_acceptance(output: Output, repositories: Sequence[Repository], accepted: bool) -> None:
    """Shows what the licences are; without acceptance that is all."""
    for repository in repositories:
        gated = ", gated: its terms are accepted on its page" if repository.gated else ""
        link = f", {repository.license_link}" if repository.license_link else ""
        output.note(f"{repository.name} (commit {repository.commit[:12]}): licence {repository.license}{link}{gated}")
    if not accepted:
        output.note("error: nothing was fetched: read the licence, and repeat the command with --accept-license")
        raise typer.Exit(cli_errors.REFUSED)
