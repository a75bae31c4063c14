"""Which process answers which service, and how long and how often the gateway tries each method."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from milimo_gateway.contract import PACKAGE, Method, Service

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Only the processes of the mesh call these, and directly.
INTERNAL: Final = frozenset({f"{PACKAGE}.WorkerService", f"{PACKAGE}.TextGenerationService"})

# Methods of public services of which the same holds: a stream of `Lease` decides over the accelerator's memory.
INTERNAL_METHODS: Final = frozenset({f"/{PACKAGE}.MemoryArbiter/Lease"})

CLUSTER_OF: Final[Mapping[str, str]] = {
    f"{PACKAGE}.{service}": cluster
    for service, cluster in {
        "MemoryArbiter": "arbiter",
        "VideoService": "video",
        "ImageService": "image",
        "SegmentationService": "segmentation",
        "StoryboardService": "storyboard",
        "ProjectService": "storyboard",
        "ElementService": "storyboard",
        "AssetService": "storyboard",
        "PromptService": "storyboard",
        "JobService": "storyboard",
        "ModelService": "storyboard",
        "CompatService": "edge",
    }.items()
}

HEALTH_PREFIX: Final = "/grpc.health.v1.Health/"
# With this header a health check asks the process that it names, one of the clusters.
PROCESS_HEADER: Final = "milimo-process"
# Services that the edge answers for the whole mesh.
EDGE_PREFIXES: Final = ("/grpc.reflection.", HEALTH_PREFIX)


class Patience(Enum):
    """How the gateway waits for an answer."""

    # Lives as long as both ends want.
    STREAM = auto()
    # One answer; a request that found the service away is sent again.
    READ = auto()
    # One answer, one try.
    CALL = auto()
    # One answer to a long request.
    UPLOAD = auto()


@dataclass(frozen=True, kw_only=True)
class Route:
    """One method and how the gateway treats it."""

    method: Method
    cluster: str
    patience: Patience


def patience(method: Method) -> Patience:
    """Streams have no timeout. What changes nothing may be tried twice: HTTP's GET, and names in Get, List, Plan."""
    if method.server_streaming:
        return Patience.STREAM
    if method.client_streaming:
        return Patience.UPLOAD
    reads = method.name.startswith(("Get", "List", "Plan")) or any(rule.verb == "GET" for rule in method.http)
    return Patience.READ if reads else Patience.CALL


def public_services(services: Iterable[Service]) -> tuple[Service, ...]:
    """Those that the gateway routes, with the methods that it routes.

    Raises:
        ValueError: when a service is neither internal nor given to a process.
    """
    public = tuple(
        replace(service, methods=tuple(each for each in service.methods if each.path not in INTERNAL_METHODS))
        for service in services
        if service.name not in INTERNAL
    )
    for service in public:
        if service.name not in CLUSTER_OF:
            raise ValueError(f"no process is named that serves {service.name}: add it to CLUSTER_OF or INTERNAL")
    return public


def routes(services: Iterable[Service]) -> tuple[Route, ...]:
    """One route for every method of every public service, in the contract's order."""
    return tuple(
        Route(method=method, cluster=CLUSTER_OF[service.name], patience=patience(method))
        for service in public_services(services)
        for method in service.methods
    )


def _answer(route: Route) -> str:
    if route.method.raw:
        return "the bytes"
    if route.patience is Patience.STREAM:
        return "events"
    return "JSON; tried again" if route.patience is Patience.READ else "JSON"


def http_table(services: Iterable[Service]) -> str:
    """The HTTP routes as a Markdown table, as docs/gateway.md shows them: one line per verb and path."""
    lines = [
        f"| `{rule.verb} {rule.path}` | {route.method.label} | {route.cluster} | {_answer(route)} |\n"
        for route in routes(services)
        for rule in route.method.http
    ]
    return "".join(("| HTTP | RPC | process | answer |\n", "|---|---|---|---|\n", *lines))
