"""The contract as the gateway sees it: services, their methods, and the HTTP rules of each, read from the image."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGE: Final = "milimo.v1"


def image_path() -> Path:
    """The descriptor image that is shipped with this package."""
    return Path(str(resources.files(__package__) / "descriptors.binpb"))


@dataclass(frozen=True, kw_only=True)
class HttpRule:
    """One HTTP way to call a method: verb in capitals, and the path template."""

    verb: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Method:
    """An RPC of the contract."""

    service: str  # full name, such as "milimo.v1.JobService"
    name: str
    client_streaming: bool
    server_streaming: bool
    http: tuple[HttpRule, ...]
    # Answers with a body as it is, not with a message.
    raw: bool

    @property
    def path(self) -> str:
        """The path under which gRPC calls it."""
        return f"/{self.service}/{self.name}"

    @property
    def label(self) -> str:
        """Its short name, such as "JobService/GetJob"."""
        return f"{self.service.removeprefix(f'{PACKAGE}.')}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service of the contract."""

    name: str  # full name
    file: str  # such as "milimo/v1/jobs.proto"
    methods: tuple[Method, ...]


def _rules(options: descriptor_pb2.MethodOptions) -> tuple[HttpRule, ...]:
    if not options.HasExtension(annotations_pb2.http):
        return ()
    first = options.Extensions[annotations_pb2.http]
    rules: Sequence[http_pb2.HttpRule] = (first, *first.additional_bindings)
    found = []
    for rule in rules:
        verb = rule.WhichOneof("pattern")
        if verb is None or verb == "custom":
            raise ValueError(f"an HTTP rule with the pattern {verb} is not supported")
        found.append(HttpRule(verb=verb.upper(), path=getattr(rule, verb)))
    return tuple(found)


def read_contract(image: Path | None = None) -> tuple[Service, ...]:
    """All services of the package, in the image's order.

    Raises:
        OSError: when the image cannot be read.
        ValueError: when a method has an HTTP rule without a verb.
    """
    files = descriptor_pb2.FileDescriptorSet.FromString((image or image_path()).read_bytes())
    services = []
    for file in files.file:
        if file.package != PACKAGE:
            continue
        for service in file.service:
            name = f"{PACKAGE}.{service.name}"
            methods = tuple(
                Method(
                    service=name,
                    name=method.name,
                    client_streaming=method.client_streaming,
                    server_streaming=method.server_streaming,
                    http=_rules(method.options),
                    raw=method.output_type == ".google.api.HttpBody",
                )
                for method in service.method
            )
            services.append(Service(name=name, file=file.name, methods=methods))
    return tuple(services)
