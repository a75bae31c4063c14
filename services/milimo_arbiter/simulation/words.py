"""What happens in the simulated world, for those who read its schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo_arbiter import events

if TYPE_CHECKING:
    from milimo_arbiter.events import Event


def in_words(event: Event) -> str:
    """An event on one line."""
    match event:
        case events.Acquire(stream=stream, request=request):
            sizes = " or ".join(str(footprint.bytes) for footprint in request.footprints)
            return f"{request.tenant} asks on stream {stream} for {sizes}, {request.priority.name} priority"
        case events.Resume(stream=stream, tenant=tenant, resume_token=token):
            return f"{tenant} takes its lease up again on stream {stream} with token {token}"
        case events.ProcessGone(process=process):
            return f"process {process.pid} has ended"
        case _:
            return str(event)
