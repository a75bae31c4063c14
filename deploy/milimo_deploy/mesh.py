"""What a mesh consists of: its processes, where they answer, and where its files are. Starts nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from milimo_deploy.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

HOST: Final = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process of the mesh.

    `arguments` follow the Python interpreter. Processes stop in the order of their stage, highest first: first what
    lets work in, then what works, at last the arbiter, to whom the workers give their leases back.
    """

    name: str
    arguments: tuple[str, ...]
    address: str
    stage: Literal["memory", "work", "entrance"]
    health: Literal["grpc", "http"] = "grpc"


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where each process listens, "host:port". The defaults are those of the settings."""

    arbiter: str = f"{HOST}:50050"
    video: str = f"{HOST}:50051"
    image: str = f"{HOST}:50052"
    segmentation: str = f"{HOST}:50053"
    storyboard: str = f"{HOST}:50054"
    edge: str = f"{HOST}:50055"
    # Envoy: where clients connect, and its own pages.
    gateway: str = f"{HOST}:8080"
    gateway_admin: str = f"{HOST}:9901"

    def named(self) -> dict[str, str]:
        """Address by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def with_port(self, port: int) -> Addresses:
        """The same, with another port for clients."""
        return replace(self, gateway=f"{HOST}:{port}")


def free_addresses() -> Addresses:
    """Addresses on ports that are free now."""
    names = tuple(Addresses.__dataclass_fields__)
    return Addresses(**{name: f"{HOST}:{port}" for name, port in zip(names, free_ports(len(names)), strict=True)})


# Name, arguments, stage. In the order of the data's way through them.
_PROCESSES: Final[tuple[tuple[str, tuple[str, ...], Literal["memory", "work", "entrance"]], ...]] = (
    ("arbiter", ("-m", "milimo_arbiter"), "memory"),
    ("storyboard", ("-m", "milimo_storyboard"), "work"),
    ("video", ("-m", "milimo_video"), "work"),
    ("image", ("-m", "milimo_image"), "work"),
    ("segmentation", ("-m", "milimo_segmentation"), "work"),
    ("edge", ("-m", "milimo_gateway", "edge"), "entrance"),
    ("gateway", ("-m", "milimo_gateway", "envoy"), "entrance"),
)
NAMES: Final = tuple(name for name, _, _ in _PROCESSES)
# For processes that share their cores. OpenMP's threads spin while they wait for each other, which takes the time of
# those they wait for: where two models compute at once, several times as long. And each thread that has allocated keeps
# memory in an arena of its own.
_GOOD_NEIGHBOURS: Final = {"OMP_WAIT_POLICY": "PASSIVE", "MALLOC_ARENA_MAX": "2"}


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """The processes of one mesh and its folder."""

    home: Path
    processes: tuple[Process, ...]
    # What the processes are told beside the environment that they inherit.
    environment: Mapping[str, str] = field(default_factory=dict)
    # How long a process may take to end its work.
    drain_seconds: float = 20.0

    @property
    def run_dir(self) -> Path:
        """Folder of the supervisor's configuration and of the process ids."""
        return self.home / "run"

    @property
    def log_dir(self) -> Path:
        """Folder of the logs."""
        return self.home / "logs"

    @property
    def description(self) -> Path:
        """The file that says where the running mesh is."""
        return self.home / "mesh.json"

    @property
    def supervisor_config(self) -> Path:
        """The generated configuration."""
        return self.run_dir / "supervisord.conf"

    def pid_file(self, name: str) -> Path:
        """The file that holds a process's id."""
        return self.run_dir / f"{name}.pid"

    def log(self, name: str) -> Path:
        """The file that takes what a process prints."""
        return self.log_dir / f"{name}.log"

    @property
    def is_complete(self) -> bool:
        """Whether it has every process of Milimo, so that every service can be reached through the gateway."""
        return {process.name for process in self.processes} >= set(NAMES)

    def process(self, name: str) -> Process:
        """The process called so. Raises KeyError."""
        return {process.name: process for process in self.processes}[name]


def plan_mesh(
    home: Path,
    addresses: Addresses,
    *,
    environment: Mapping[str, str] | None = None,
    only: Collection[str] = NAMES,
    drain_seconds: float = 20.0,
) -> Mesh:
    """The mesh in a folder. `environment` is for settings beyond home and addresses; `only` leaves processes out."""
    home = home.resolve()
    where = addresses.named()
    own = {"MILIMO_HOME": str(home), "MILIMO_DRAIN_SECONDS": str(drain_seconds), "PYTHONUNBUFFERED": "1"}
    own |= {
        f"MILIMO_{name.upper()}_ADDRESS": address for name, address in where.items() if not name.startswith("gateway")
    }
    own |= {"MILIMO_GATEWAY_LISTEN": where["gateway"], "MILIMO_GATEWAY_ADMIN": where["gateway_admin"]}
    processes = tuple(
        Process(
            name=name,
            arguments=arguments,
            address=where[name],
            stage=stage,
            health="http" if name == "gateway" else "grpc",
        )
        for name, arguments, stage in _PROCESSES
        if name in only
    )
    return Mesh(home=home, processes=processes, environment={**own, **(environment or {})}, drain_seconds=drain_seconds)


def inherited_environment(mesh: Mesh) -> dict[str, str]:
    """The environment of the mesh's processes: this one's, and what the mesh adds."""
    return {**_GOOD_NEIGHBOURS, **os.environ, **mesh.environment}
