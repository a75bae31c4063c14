"""The `milimo` command. Packages of the server add theirs through the entry points `milimo.commands`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import Annotated, Final

import typer

from milimo import (
    cli_assets,
    cli_elements,
    cli_errors,
    cli_gpu,
    cli_image,
    cli_jobs,
    cli_models,
    cli_projects,
    cli_script,
    cli_segment,
    cli_status,
    cli_text,
    cli_video,
)

GROUP: Final = "milimo.commands"

# What an entry point names: a function that adds commands to the root, or to one of its groups.
Extension = Callable[[typer.Typer], None]

EPILOG: Final = "\b\nExit codes:\n" + "\n".join(f"{code:>5}  {text}" for code, text in cli_errors.EXIT_CODES.items())


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"milimo {version('milimo')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Milimo, the engine of an AI film studio: videos, images, masks and storyboards."""


def installed_extensions() -> Iterable[Extension]:
    """What the installed packages add; one that cannot be loaded is named on stderr and left out."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            extension: Extension = entry.load()
        except ImportError as error:
            print(f"warning: the commands of {entry.name} are not available: {error}", file=sys.stderr)
        else:
            yield extension


def build_app(extensions: Iterable[Extension] = ()) -> typer.Typer:
    """The command tree."""
    app = typer.Typer(
        name="milimo",
        no_args_is_help=True,
        add_completion=True,
        # Plain text: one line for an error, and a --help that does not wait for rich.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        epilog=EPILOG,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    app.add_typer(cli_video.app, name="video")
    app.add_typer(cli_image.app, name="image")
    app.command("segment")(cli_segment.segment)
    app.command("text")(cli_text.text)
    app.add_typer(cli_script.app, name="script")
    app.add_typer(cli_jobs.app, name="jobs")
    app.add_typer(cli_projects.app, name="projects")
    app.add_typer(cli_assets.app, name="assets")
    app.add_typer(cli_elements.app, name="elements")
    app.add_typer(cli_models.app, name="models")
    app.add_typer(cli_gpu.app, name="gpu")
    app.command("status")(cli_status.status)
    for extension in extensions:
        extension(app)
    return app


def group(app: typer.Typer, name: str) -> typer.Typer:
    """A group of the root, for extensions that add to it; made when it is not there yet."""
    for info in app.registered_groups:
        if info.name == name and info.typer_instance is not None:
            return info.typer_instance
    made = typer.Typer(no_args_is_help=True)
    app.add_typer(made, name=name)
    return made


def main() -> None:
    """Runs the command; the exit codes are in `cli_errors`."""
    # stderr is for one clear line: gRPC's own remarks about connections that end are none of it.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        build_app(installed_extensions())()
    except KeyboardInterrupt:
        # Pressed before or after the command's own work.
        sys.exit(cli_errors.INTERRUPTED)


if __name__ == "__main__":
    main()
