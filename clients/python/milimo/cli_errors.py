"""Exit codes, and one line for each error: what, which field, why, and what to do next."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from milimo.errors import MilimoError

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
UNAVAILABLE: Final = 4
REFUSED: Final = 5
EXHAUSTED: Final = 6
FORBIDDEN: Final = 7
INTERRUPTED: Final = 130

EXIT_CODES: Final = {
    OK: "done",
    FAILED: "the job failed or was cancelled, or an error of the server",
    USAGE: "wrong usage, or a value that the server refuses (INVALID_ARGUMENT)",
    NOT_FOUND: "no such project, job, asset or file",
    UNAVAILABLE: "nothing answers at the address, or a process of the mesh is away",
    REFUSED: "not in this state: a model is missing, a job has ended already",
    EXHAUSTED: "a limit is reached: queue, rate, disk",
    FORBIDDEN: "the gateway wants another key (MILIMO_API_KEY)",
    INTERRUPTED: "interrupted; a job that was started goes on",
}

_BY_STATUS: Final = {
    "INVALID_ARGUMENT": USAGE,
    "OUT_OF_RANGE": USAGE,
    "NOT_FOUND": NOT_FOUND,
    "UNAVAILABLE": UNAVAILABLE,
    "DEADLINE_EXCEEDED": UNAVAILABLE,
    "FAILED_PRECONDITION": REFUSED,
    "ALREADY_EXISTS": REFUSED,
    "ABORTED": REFUSED,
    "RESOURCE_EXHAUSTED": EXHAUSTED,
    "UNAUTHENTICATED": FORBIDDEN,
    "PERMISSION_DENIED": FORBIDDEN,
}

# Fields of the contract whose option has another name.
_OPTIONS: Final = {
    "num_frames": "--frames",
    "negative_prompt": "--negative",
    "cfg_scale": "--cfg",
    "conditions": "--image",
    "reference_asset_ids": "--reference",
    "reference_mode": "--reference-mode",
    "element_ids": "--element",
    "trigger_word": "--trigger",
    **dict.fromkeys(("mask", "mask_asset_id"), "--mask"),
    "mask_text": "--text",
    "mask_prompt": "--point",
    "crop_padding": "--padding",
    **dict.fromkeys(("outpaint", "left", "top", "right", "bottom"), "--outpaint"),
    "enhance_prompt": "--enhance",
    "points": "--point",
    "boxes": "--box",
    "project_id": "--project",
    "prompt": "PROMPT",
}
# Parts of a place in the image: the option is that of the point or box.
_COORDINATES: Final = frozenset({"x", "y", "x0", "y0", "x1", "y1"})
_SAME_NAME: Final = frozenset(
    {"width", "height", "fps", "seed", "steps", "guidance", "count", "text", "priority", "feather"}
)

# What is not found, and the command that lists what there is.
_LISTS: Final = {"project": "projects", "job": "jobs", "asset": "assets"}

# How gRPC tells that there is no connection; what follows are addresses of the network's, in its words.
_NO_CONNECTION: Final = "failed to connect to all addresses"

_ADVICE: Final = {
    "MODEL_MISSING": "see `milimo models list` for what is missing and how to get it",
    "REQUEST_ID_REUSED": "send it again with another request id",
    "NOT_IMPLEMENTED": "leave it out, or ask for less",
    "QUEUE_FULL": "wait until fewer jobs are queued: `milimo jobs list`",
    "OUT_OF_MEMORY": "ask for less; `milimo gpu status` shows who holds the memory",
    "UPGRADED": "start it anew with `milimo jobs retry JOB`",
}


def exit_code(error: MilimoError) -> int:
    """The exit code for an error of a call."""
    return _BY_STATUS.get(error.code.name, FAILED)


def option_of(field: str) -> str | None:
    """The option behind a field of the contract: "video.num_frames" → "--frames"; None when there is none."""
    parent, _, last = field.rpartition(".")
    if last in _COORDINATES:
        last = parent.rpartition(".")[2]
    name = last.partition("[")[0]
    return _OPTIONS.get(name) or (f"--{name}" if name in _SAME_NAME else None)


def advice(error: MilimoError, address: str) -> str:
    """What to do next, in one clause; "" when there is nothing sensible to say."""
    if error.reason in _ADVICE:
        return _ADVICE[error.reason]
    if error.retry_after is not None:
        return f"try again in {error.retry_after:.0f} s"
    code = exit_code(error)
    if code == UNAVAILABLE:
        if is_listening(address):
            return "the gateway answers, the process behind this call does not: `milimo status` shows which; try again"
        return f"nothing answers at {address}: start the mesh with `milimo up`, or name another with --address"
    if code == USAGE:
        options = dict.fromkeys(filter(None, (option_of(violation.field) for violation in error.violations)))
        return f"change {', '.join(options)}" if options else "see --help"
    if code == NOT_FOUND:
        fields = " ".join(violation.field for violation in error.violations)
        lists = [f"`milimo {plural} list`" for thing, plural in _LISTS.items() if f"{thing}_id" in fields]
        return f"list what there is: {', '.join(lists)}" if lists else ""
    if code == FORBIDDEN:
        return "set MILIMO_API_KEY to a key of this gateway"
    if error.code.name == "UNIMPLEMENTED":
        return "this mesh is of another version than the command, or does not offer it"
    if error.code.name == "INTERNAL":
        return "look at the server's log: `milimo status` says where"
    return ""


def error_line(error: MilimoError, next_step: str) -> str:
    """One line: "error: video.width: must be even [INVALID_FIELD]; change --width"."""
    message = " ".join(error.message.split())
    if message.startswith(_NO_CONNECTION):
        message = "there is no connection"
    missing = [
        f"{violation.field}: {violation.description}"
        for violation in error.violations
        if violation.description not in message
    ]
    text = "; ".join([message, *missing])
    tail = f"; {next_step}" if next_step else ""
    return f"error: {text} [{error.reason or error.code.name}]{tail}"


def error_document(error: MilimoError, next_step: str) -> dict[str, Any]:
    """The error for programs."""
    return {
        "error": {
            "code": error.code.name,
            "reason": error.reason,
            "message": error.message,
            "violations": [{"field": item.field, "description": item.description} for item in error.violations],
            "retry_after": error.retry_after,
            "advice": next_step,
        }
    }


def is_listening(address: str) -> bool:
    """Whether something takes connections at the address."""
    from milimo.endpoint import parse_address

    host, _, port = parse_address(address).target.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1):
            return True
    except OSError:
        return False
