"""What the gateway's two processes, Envoy's launcher and the edge, are configured with."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final, Self, TypeAlias
from urllib.parse import unquote, urlsplit

from milimo_runtime.limits import UNARY_SECONDS, UPLOAD_SECONDS
from milimo_runtime.settings import MeshSettings
from pydantic import Field, model_validator

# Processes behind the gateway, by the settings field that holds the address of a laptop's single one.
CLUSTERS: Final = ("arbiter", "video", "image", "segmentation", "storyboard", "edge")

# Names of this machine, as they stand in Host and Origin.
LOCAL: Final = ("localhost", "127.0.0.1", "[::1]")

_HOST_NAME: Final = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")

Endpoint: TypeAlias = tuple[str, int]


def split_address(address: str) -> Endpoint:
    """Host and port of "host:port"; an IPv6 host stands in brackets.

    Raises:
        ValueError: when there is no host or no port from 0 to 65,535.
    """
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is not host:port")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether the host names this machine only. A name other than "localhost" counts as no: it may resolve anywhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class GatewaySettings(MeshSettings):
    """Settings of Envoy and its launcher. Each has the environment name MILIMO_ and its own, in capitals."""

    gateway_listen: str = Field(default="127.0.0.1:8080", description="Where clients connect; port 0: any free one")
    gateway_admin: str = Field(default="127.0.0.1:9901", description="Envoy's own pages and statistics; loopback only")
    gateway_run_dir: Path | None = Field(default=None, description="Folder of envoy.yaml; default: in the home folder")
    gateway_access_log: Path | None = Field(default=None, description="File of the access log; default: in the home")
    gateway_access_log_bytes: Annotated[int, Field(ge=1)] = 10 * 1024 * 1024
    gateway_endpoints: dict[str, list[str]] = Field(
        default_factory=dict,
        description='More than one process behind a cluster: {"video": ["10.0.0.2:50051", "10.0.0.3:50051"]}',
    )
    gateway_cors_origins: list[str] = Field(
        default_factory=lambda: [f"{scheme}://{host}:*" for scheme in ("http", "https") for host in LOCAL],
        description='Origins whose pages may call, all others are refused; a port "*" stands for any port or none',
    )
    gateway_hosts: list[str] = Field(
        default_factory=list,
        description='Names in Host that are answered beside those of this machine, for a proxy: ["studio.example"]',
    )
    gateway_concurrency: Annotated[int, Field(ge=1)] = 2
    gateway_requests_per_second: Annotated[int, Field(ge=1)] = 10_000
    gateway_max_streams: Annotated[int, Field(ge=1)] = 8_192
    gateway_max_connections: Annotated[int, Field(ge=1)] = 8_192
    # A little more than the services' own limits, whose answer says more.
    gateway_call_seconds: Annotated[float, Field(gt=0)] = UNARY_SECONDS + 30
    gateway_upload_seconds: Annotated[float, Field(gt=0)] = UPLOAD_SECONDS + 30
    gateway_drain_seconds: Annotated[float, Field(ge=0)] = 5.0
    gateway_start_seconds: Annotated[float, Field(gt=0)] = 30.0
    media_url: str | None = Field(default=None, description="file: or s3: URL; default: a folder of the home folder")

    @model_validator(mode="after")
    def _check_addresses(self) -> Self:
        """Refuses addresses that cannot be, and those that would open the studio to others."""
        host, _ = split_address(self.gateway_listen)
        if not is_loopback(host):
            raise ValueError(
                f"gateway_listen: {self.gateway_listen} can be reached from other machines, and there are no API keys: "
                "listen on 127.0.0.1 and let a proxy that authenticates forward to it"
            )
        host, _ = split_address(self.gateway_admin)
        if not is_loopback(host):
            raise ValueError(f"gateway_admin: {self.gateway_admin} can be reached from other machines")
        for name in self.gateway_hosts:
            if not _HOST_NAME.fullmatch(name):
                raise ValueError(f"gateway_hosts: {name!r} is no name of a host; write it without scheme and port")
        for cluster, endpoints in self.gateway_endpoints.items():
            if cluster not in CLUSTERS:
                raise ValueError(f"gateway_endpoints: {cluster!r} is none of {', '.join(CLUSTERS)}")
            if not endpoints:
                raise ValueError(f"gateway_endpoints: {cluster} has no address")
        for cluster in CLUSTERS:
            self.endpoints(cluster)
        return self

    def endpoints(self, cluster: str) -> list[Endpoint]:
        """Host and port of every process behind a cluster, one of `CLUSTERS`."""
        single: str = getattr(self, f"{cluster}_address")
        return [split_address(address) for address in self.gateway_endpoints.get(cluster, [single])]

    @property
    def run_dir(self) -> Path:
        """Where the launcher writes Envoy's configuration and the ports in force."""
        return self.gateway_run_dir or self.home / "run/gateway"

    @property
    def access_log(self) -> Path:
        """One JSON object a line and request."""
        return self.gateway_access_log or self.home / "logs/access.log"

    @property
    def media_dir(self) -> Path | None:
        """The folder whose `projects` subtree is served; None when media live in an object store."""
        if self.media_url is None:
            return self.home / "media"
        parts = urlsplit(self.media_url)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None
