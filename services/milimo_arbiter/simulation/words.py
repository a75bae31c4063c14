"""What happens in the simulated world, for those who read its schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo_arbiter import effects, events

if TYPE_CHECKING:
    from collections.abc import Iterable

    from milimo_arbiter.effects import Effect
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


def step_in_words(event: Event, done: Iterable[Effect]) -> str:
    """An event and what was decided by it, a line each; empty where nothing is worth a line."""
    quiet = isinstance(event, events.Tick | events.Sampled | events.Heartbeat | events.ExternalSeen)
    results = []
    for effect in done:
        match effect:
            case effects.Decided(action=action, tenant=tenant, bytes=size, device=device, reason=reason):
                results.append(f"{action} {tenant}, {size} on {device} with token {effect.fencing_token}: {reason}")
            case effects.Send(stream=stream, reply=effects.Queued(position=position, reason=reason)):
                results.append(f"tells stream {stream}: place {position}, {reason}")
            case effects.Refuse(stream=stream, refusal=refusal):
                results.append(f"refuses stream {stream}: {refusal}")
            case effects.Kill(process=process):
                results.append(f"kills process {process.pid}")
            case _:
                pass
    return "\n               ".join((in_words(event), *results)) if results or not quiet else ""
