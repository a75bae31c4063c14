"""The reasons that errors carry, found where the services raise them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from google.rpc import code_pb2
from milimo_arbiter.effects import Refusal
from milimo_arbiter.messages import error_of
from milimo_runtime import device, errors, interceptors, job_run, out_of_memory, statuses, worker
from milimo_runtime.errors import MilimoError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_HTTP: Final[Mapping[str, int]] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
# Reasons that have no class of their own, whose docstring would say what they mean to a caller.
_MEANINGS: Final[Mapping[str, str]] = {
    "EXTERNAL_UNKNOWN": "A program that is no tenant holds memory, and does not say how much.",
    "INTERNAL": "An error of the server: the logs have it under `metadata.error_id`.",
    "ASSET_IN_USE": "Elements show the asset: take it from their images first.",
    "ELEMENT_FULL": "The element has as many images as it may.",
    "TRIGGER_TAKEN": "Another element of the project has this trigger word, or one that differs in case only.",
    "JOBS_RUNNING": "Jobs of the project have not ended: cancel them first.",
    "IMAGE_TOO_LARGE": "More pixels than are accepted.",
    "IMAGE_FORMAT_UNSUPPORTED": "Not a PNG, JPEG or WebP image.",
    "IMAGE_DAMAGED": "The image is damaged or cut off.",
    "UPLOAD_TOO_LARGE": "The file is larger than an upload may be.",
    "MEDIA_TYPE_UNSUPPORTED": "No accepted kind of file.",
    "MEDIA_DAMAGED": "The video or sound cannot be decoded.",
    "VIDEO_TOO_LARGE": "More pixels a side or more frames than are accepted.",
    "FOOTPRINT_TOO_LARGE": "Every grade of the model is larger than the budget of any device.",
    "DEVICE_UNKNOWN": "A grade names a device that the arbiter does not have.",
    "NOTHING_FOUND": "The segmentation found nothing to repaint.",
    "QUEUE_FULL": "Too many requests for memory wait already, or too many jobs of the service have not ended.",
    "DISK_FULL": "The disk has no room for the file: delete something, or give it more.",
    "TOO_MANY_UPLOADS": "Too many uploads are at work already.",
    "RESUME_TOKEN_FOREIGN": "The resume token belongs to another holder.",
    "SECOND_ACQUIRE": "A lease stream asks for memory once, at its beginning.",
    "SHRINK_TOO_LARGE": "More was given back than is held.",
}


def reasons(root: Path) -> Mapping[tuple[str, str], str]:
    """Each reason with its status code, such as ("JOBS_RUNNING", "FAILED_PRECONDITION"), and what it means.

    Raises:
        KeyError: when a reason of the code is explained neither by a class nor here.
    """
    found = {("INTERNAL", code_pb2.Code.Name(statuses.internal_status("").code)): _MEANINGS["INTERNAL"]}
    classes = dict(_classes())
    for one in classes.values():
        found.setdefault((one.default_reason, one.status), " ".join((one.__doc__ or "").split()))
    given = {(error.reason, error.status) for refusal in Refusal if (error := error_of(refusal, ""))}
    for file in (*root.glob("services/*/*.py"), *root.glob("gateway/*/*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in classes:
                continue
            for keyword in node.keywords:
                if keyword.arg == "reason" and isinstance(keyword.value, ast.Constant):
                    given.add((str(keyword.value.value), classes[node.func.id].status))
    for key in given - found.keys():
        found[key] = _MEANINGS[key[0]]
    return found


def _classes() -> Iterator[tuple[str, type[MilimoError]]]:
    for module in (device, errors, interceptors, job_run, out_of_memory, worker):
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, MilimoError) and value is not MilimoError:
                yield name, value


def rows(root: Path) -> list[tuple[str, str, str, str]]:
    """Reason, code, HTTP status and meaning, by status."""
    found = sorted(reasons(root).items(), key=lambda entry: (_HTTP[entry[0][1]], entry[0][1], entry[0][0]))
    return [(f"`{reason}`", status, str(_HTTP[status]), meaning) for (reason, status), meaning in found]
