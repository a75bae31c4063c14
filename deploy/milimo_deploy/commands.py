"""The commands of the server: `milimo up`, `down`, `doctor`, and `models verify`, `install`, `pull`, `add-lora`.

They join the `milimo` command by the entry point group `milimo.commands`. What they need is imported when they run, so
that `milimo --help` stays quick.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from milimo import cli_errors
from milimo.cli import group
from milimo.cli_output import Output, size_text
from milimo.cli_session import JsonOption

from milimo_deploy import model_commands
from milimo_deploy.model_commands import HomeOption

if TYPE_CHECKING:
    from milimo_deploy.mesh import Addresses


def register(app: typer.Typer) -> None:
    """Adds the server's commands to the root."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("doctor")(doctor)
    models = group(app, "models")
    models.command("verify")(verify)
    models.command("install")(install)
    models.command("pull")(model_commands.pull)
    models.command("add-lora")(model_commands.add_lora)


def _home(home: Path | None) -> Path:
    from milimo_runtime.settings import default_home

    return (home or default_home()).resolve()


def _configured_addresses() -> Addresses:
    """As the environment and the configuration file say."""
    from milimo_gateway.settings import GatewaySettings

    from milimo_deploy.mesh import NAMES, Addresses

    settings = GatewaySettings()
    named = {name: getattr(settings, f"{name}_address") for name in NAMES if name != "gateway"}
    return Addresses(**named, gateway=settings.gateway_listen, gateway_admin=settings.gateway_admin)


def up(
    home: HomeOption = None,
    port: Annotated[int | None, typer.Option(help="Where clients connect. Default 8080.")] = None,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Let every process listen on a free port.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when the mesh is up.")] = False,
    json: JsonOption = False,
) -> None:
    """Start the whole mesh on this machine, and stop it at Ctrl-C."""
    from milimo_runtime.settings import ServiceSettings

    from milimo_deploy import small_models
    from milimo_deploy.health import MeshNotReady
    from milimo_deploy.mesh import free_addresses, plan_mesh
    from milimo_deploy.ports import is_free
    from milimo_deploy.running import AlreadyRunning, sigterm_as_exit, start_mesh, stop_mesh

    output = Output(json=json)
    folder = _home(home)
    addresses = free_addresses() if free_ports else _configured_addresses()
    if port is not None:
        addresses = addresses.with_port(port)
    taken = [f"{name} wants {address}" for name, address in addresses.named().items() if not is_free(address)]
    if taken:
        output.note(f"error: in use: {', '.join(taken)}; stop what listens there, or use --free-ports")
        raise typer.Exit(cli_errors.REFUSED)
    settings = ServiceSettings(home=folder)
    mesh = plan_mesh(folder, addresses, drain_seconds=settings.drain_seconds)
    try:
        with sigterm_as_exit():
            if small_models.needs_install(settings.models, settings.model_family):
                output.note(f"writing the {settings.model_family} models …")
                small_models.install(settings.models, settings.model_family)
            running, supervisor = start_mesh(
                mesh,
                detached=detach,
                on_ready=lambda name, seconds: output.note(f"{name} is ready after {seconds:.1f} s"),
            )
            output.document({"address": running.address, "home": str(folder), "description": str(mesh.description)})
            output.text(f"Milimo answers at {running.address}")
            if detach:
                output.note(f"it runs in the background: `milimo down{f' --home {home}' if home else ''}` stops it")
                return
            output.note(f"logs are in {mesh.log_dir}; Ctrl-C stops it")
            try:
                if supervisor.wait() == 0:
                    # `milimo down`, or somebody else who asked it to end.
                    output.note("the mesh was stopped")
                    return
                output.note("error: the supervisor was killed")
            finally:
                output.note("stopping …")
                for command in stop_mesh(running):
                    output.note(f"had to be killed: {command}")
    except (MeshNotReady, small_models.InstallFailed) as error:
        output.note(f"error: {error}")
        raise typer.Exit(cli_errors.FAILED) from error
    except AlreadyRunning as error:
        output.note(f"error: {error}")
        raise typer.Exit(cli_errors.REFUSED) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(cli_errors.INTERRUPTED) from error
    raise typer.Exit(cli_errors.FAILED)


def down(home: HomeOption = None, json: JsonOption = False) -> None:
    """Stop the mesh that runs in a folder, and return when nothing of it is left."""
    from milimo_deploy.mesh import Addresses, plan_mesh
    from milimo_deploy.running import read_description, supervisor_of
    from milimo_deploy.supervision import stop_supervisor, survivors

    output = Output(json=json)
    folder = _home(home)
    description = read_description(folder) or {}
    mesh = plan_mesh(folder, Addresses(), drain_seconds=float(description.get("drain_seconds", 20.0)))
    pid = supervisor_of(folder)
    if pid is None and not survivors(mesh):
        mesh.description.unlink(missing_ok=True)
        output.document({"stopped": False})
        output.note(f"no mesh runs in {folder}")
        return
    for command in stop_supervisor(mesh, pid):
        output.note(f"had to be killed: {command}")
    mesh.description.unlink(missing_ok=True)
    output.document({"stopped": True})
    output.note("stopped")


def doctor(
    home: HomeOption = None,
    plan: Annotated[bool, typer.Option("--plan", help="Also show which models fit into the memory.")] = False,
    json: JsonOption = False,
) -> None:
    """Show the settings in force, what is missing, and with --plan the memory."""
    from pydantic import ValidationError

    from milimo_deploy import doctor as checks

    output = Output(json=json)
    try:
        settings = checks.settings_in_force(home)
        found = list(checks.findings(home))
        fits, sentences = checks.memory_plan(home) if plan else ([], [])
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(["MILIMO", *(str(part).upper() for part in problem["loc"])])
            output.note(f"error: {name}: {problem['msg']}")
        raise typer.Exit(cli_errors.USAGE) from error
    except checks.MemoryMisconfigured as error:
        output.note(f"error: {error}; see MILIMO_ARBITER_DEVICE and MILIMO_ARBITER_BUDGET_BYTES")
        raise typer.Exit(cli_errors.USAGE) from error
    output.document(
        {
            "settings": [dataclasses.asdict(setting) for setting in settings],
            "findings": [dataclasses.asdict(finding) for finding in found],
            "plan": [{**dataclasses.asdict(fit), "fits": fit.fits} for fit in fits],
            "advice": sentences,
        }
    )
    output.table(
        ("setting", "value", ""),
        [(setting.name, setting.value, "set" if setting.is_set else "default") for setting in settings],
    )
    output.table(
        ("looked at", "state", "found", "what to do"),
        [(finding.topic, finding.state, finding.text, finding.advice) for finding in found],
    )
    if plan:
        output.table(
            ("device", "budget", "model", "grade", "needs", "fits"),
            [
                (
                    fit.device,
                    size_text(fit.budget),
                    fit.model,
                    fit.footprint,
                    size_text(fit.needed),
                    "yes" if fit.fits else "no" if fit.loads else "no loader",
                )
                for fit in fits
            ],
        )
        for sentence in sentences:
            output.text(sentence)
    if any(finding.state == "missing" for finding in found):
        raise typer.Exit(cli_errors.FAILED)


FamilyOption = Annotated[str | None, typer.Option(help="Such as real or shapes. Default: the one in use.")]


def verify(
    family: FamilyOption = None,
    home: HomeOption = None,
    hashes: Annotated[bool, typer.Option("--hashes", help="Read every file too; takes seconds per gigabyte.")] = False,
    json: JsonOption = False,
) -> None:
    """Compare the installed models' files with their manifests, on this machine."""
    from milimo_runtime.registry import Registry
    from milimo_runtime.settings import ServiceSettings

    output = Output(json=json)
    settings = ServiceSettings(home=_home(home))
    chosen = family or settings.model_family
    models = Registry(settings.models, chosen).models()
    checked = {model.manifest.name: model.check(hashes=hashes) for model in models}
    output.document(
        {
            "models": [
                {"name": name, "files": [{"path": one.file.path, "status": one.status} for one in files]}
                for name, files in checked.items()
            ]
        }
    )
    output.table(
        ("model", "file", "bytes", "state"),
        [
            (f"{chosen}/{name}", one.file.path, size_text(one.file.bytes), one.status)
            for name, files in checked.items()
            for one in files
        ],
    )
    if not models:
        output.note(f"error: there is no model of the family {chosen} in {settings.models}; see `milimo doctor`")
        raise typer.Exit(cli_errors.NOT_FOUND)
    if any(one.status != "ok" for files in checked.values() for one in files):
        for model in models:
            output.note(f"{chosen}/{model.manifest.name}: {model.manifest.advice}")
        raise typer.Exit(cli_errors.FAILED)


def install(
    family: Annotated[str, typer.Argument(metavar="FAMILY", help="shapes or tiny.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the models. Default: that of the home folder.")] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Put a family that comes with Milimo into the models' folder: the real architectures, small.

    shapes is trained on coloured shapes that move; tiny has random weights, whose pictures are noise.
    """
    from milimo_runtime.settings import ServiceSettings

    from milimo_deploy import small_models

    output = Output(json=json)
    if family not in small_models.FAMILIES:
        output.note(f"error: {family} does not come with Milimo: {' or '.join(small_models.FAMILIES)}")
        raise typer.Exit(cli_errors.USAGE)
    folder = out or ServiceSettings(home=_home(home)).models
    try:
        small_models.install(folder, family)
    except small_models.InstallFailed as error:
        output.note(f"error: {error}")
        raise typer.Exit(cli_errors.FAILED) from error
    output.document({"folder": str(folder)})
    output.text(str(folder))
