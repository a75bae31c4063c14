"""Where a mesh answers, and how to speak to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_ADDRESS: Final = "127.0.0.1:8080"
# Of the video process, which the gateway leads to for videos only.
VIDEO_ADDRESS: Final = "127.0.0.1:50051"
MESSAGE_BYTES: Final = 4 * 1024 * 1024
# Media travel in pieces of this size, in both directions.
CHUNK_BYTES: Final = 1024 * 1024
# Longer than the server's own limit for a unary call, so that its answer arrives first.
CALL_SECONDS: Final = 150.0

CHANNEL_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    # A gateway that vanished without a word is noticed within half a minute, also by a watch that waits.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An address that was understood: "host:port", whether to use TLS, and the key for the gateway."""

    target: str
    tls: bool = False
    api_key: str | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with every call."""
        return (("authorization", f"Bearer {self.api_key}"),) if self.api_key else ()


def parse_address(address: str, *, api_key: str | None = None) -> Endpoint:
    """Understands "host:port", "host", "http://host:port" and "https://host".

    Raises:
        ValueError: when it is none of these.
    """
    scheme, separator, rest = address.strip().partition("://")
    if not separator:
        scheme, rest = "http", scheme
    rest = rest.rstrip("/")
    if scheme not in ("http", "https") or not rest or "/" in rest:
        raise ValueError(f"{address!r} is no address; write host:port, http://host:port or https://host")
    name, _, port = rest.rpartition(":")
    if rest.endswith("]") or not name:
        rest, port = f"{rest}:{443 if scheme == 'https' else 8080}", "0"
    if not port.isdecimal():
        raise ValueError(f"{address!r} has no number as its port")
    return Endpoint(target=rest, tls=scheme == "https", api_key=api_key)


def local_address(environment: Mapping[str, str]) -> str:
    """Where the mesh answers that was started on this machine, as its home folder tells; else the default address.

    `environment` has MILIMO_HOME or XDG_DATA_HOME where the folder is not the usual one.
    """
    address = _local_mesh(environment).get("address")
    return address if isinstance(address, str) and address else DEFAULT_ADDRESS


def local_process_address(environment: Mapping[str, str], name: str, default: str) -> str:
    """Where a process of that mesh answers, such as "video", which the gateway does not lead to."""
    processes = _local_mesh(environment).get("processes")
    process = processes.get(name) if isinstance(processes, dict) else None
    address = process.get("address") if isinstance(process, dict) else None
    return address if isinstance(address, str) and address else default


def _local_mesh(environment: Mapping[str, str]) -> dict[str, Any]:
    """What `milimo up` left in its home folder; nothing when there is none."""
    base = environment.get("XDG_DATA_HOME")
    usual = (Path(base) if base else Path.home() / ".local/share") / "milimo"
    home = environment.get("MILIMO_HOME")
    try:
        description = json.loads((Path(home) if home else usual).joinpath("mesh.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return description if isinstance(description, dict) else {}
