"""Which RPCs of the contract exist, told by the classes that answer them, and what the contract says of each."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

from milimo_arbiter.service import MemoryArbiterService
from milimo_gateway.contract import PACKAGE, read_contract
from milimo_gateway.edge import COMPAT, edge
from milimo_image.service import ImageService
from milimo_runtime import later
from milimo_runtime.worker_service import WorkerService
from milimo_segmentation.service import SegmentationService
from milimo_storyboard.asset_service import AssetService
from milimo_storyboard.element_service import ElementService
from milimo_storyboard.job_service import JobService
from milimo_storyboard.model_service import ModelService
from milimo_storyboard.project_service import ProjectService
from milimo_storyboard.prompt_service import PromptService
from milimo_storyboard.storyboard_service import StoryboardService
from milimo_video.service import VideoService
from milimo_video.text_service import TextGenerationService

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import grpc.aio

# Service and method, such as ("JobService", "GetJob").
Rpc = tuple[str, str]

SERVICERS: Final[Mapping[str, type]] = {
    "MemoryArbiter": MemoryArbiterService,
    "VideoService": VideoService,
    "TextGenerationService": TextGenerationService,
    "ImageService": ImageService,
    "SegmentationService": SegmentationService,
    "StoryboardService": StoryboardService,
    "ProjectService": ProjectService,
    "ElementService": ElementService,
    "AssetService": AssetService,
    "PromptService": PromptService,
    "JobService": JobService,
    "ModelService": ModelService,
    "WorkerService": WorkerService,
}
_SERVICE: Final = re.compile(r"^service (\w+)")
_METHOD: Final = re.compile(r"^\s+rpc (\w+)\(")
_COMMENT: Final = re.compile(r"^\s+// ?(.*)")
# After what the method does, a comment goes on with details in further paragraphs, and with the errors.
_DETAILS: Final = re.compile(r"(\n\n|\s*Errors: ).*", re.DOTALL)


def is_answered(servicer: type, method: str) -> bool:
    """Whether the class answers the method itself: not the stub that it inherits, and not a placeholder."""
    module: str = getattr(servicer, method).__module__
    return module != later.__name__ and not module.endswith("_pb2_grpc")


def existing() -> frozenset[Rpc]:
    """The RPCs that do what the contract says."""
    found = {
        (name, method.name)
        for service in read_contract()
        if (name := service.name.removeprefix(f"{PACKAGE}.")) in SERVICERS
        for method in service.methods
        if is_answered(SERVICERS[name], method.name)
    }
    return frozenset(found | _answered_by_the_edge())


def _answered_by_the_edge() -> set[Rpc]:
    """The edge has no class for the bare routes: it is set up on a server that only takes notes."""
    handlers: list[grpc.GenericRpcHandler] = []
    server = SimpleNamespace(add_generic_rpc_handlers=handlers.extend, add_registered_method_handlers=lambda *_: None)

    async def set_up() -> None:
        async with edge(cast("grpc.aio.Server", server)):
            pass

    asyncio.run(set_up())
    found = set()
    for service in read_contract():
        if service.name != COMPAT:
            continue
        for method in service.methods:
            details = cast("grpc.HandlerCallDetails", SimpleNamespace(method=method.path, invocation_metadata=()))
            answers = [handler for one in handlers if (handler := one.service(details)) is not None]
            functions = [cast("Any", answer).unary_unary for answer in answers]
            if any(not function.__qualname__.startswith("_refusal") for function in functions):
                found.add((COMPAT.removeprefix(f"{PACKAGE}."), method.name))
    return found


def comments(protos: Path) -> Mapping[Rpc, str]:
    """What the contract's comments say first of each RPC, on one line."""
    found: dict[Rpc, str] = {}
    for file in sorted(protos.glob("milimo/v1/*.proto")):
        service = ""
        pending: list[str] = []
        for line in file.read_text(encoding="utf-8").splitlines():
            if match := _SERVICE.match(line):
                service, pending = match[1], []
            elif match := _COMMENT.match(line):
                pending.append(match[1])
            elif match := _METHOD.match(line):
                found[service, match[1]] = " ".join(_DETAILS.sub("", "\n".join(pending)).split())
                pending = []
            else:
                pending = []
    return found
