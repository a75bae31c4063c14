"""What goes wrong in the simulated world by itself: stops, deaths, broken streams, operators, intruders."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from milimo_arbiter import events
from milimo_arbiter.simulation.terms import BUDGET, LONGEST_PAUSE_S
from milimo_arbiter.state import Footprint, Request

if TYPE_CHECKING:
    from milimo_arbiter.simulation.holder import Holder
    from milimo_arbiter.simulation.world import World

# How often each kind strikes, beside the others.
_WEIGHTS: Final = {"stop": 4, "death": 4, "cut": 5, "kill": 1, "operator": 4, "intruder": 1}


class Disasters:
    """Plans one after the other, for as long as the world exists."""

    def __init__(self, world: World, holders: list[Holder], *, calm: bool) -> None:
        """`holders` are all that there might be: who is left out changes nothing about when the others suffer."""
        self._world = world
        self._holders = holders
        self._calm = calm
        self._chance = world.fate.random("disasters")
        self._plan()

    def _plan(self) -> None:
        self._world.after(self._chance.expovariate(1 / (60 if self._calm else 7)), self._strike)

    def _strike(self) -> None:
        world = self._world
        holder = self._chance.choice(self._holders)
        (kind,) = self._chance.choices(list(_WEIGHTS), weights=list(_WEIGHTS.values()))
        pause, share = self._chance.uniform(0.5, LONGEST_PAUSE_S), self._chance.random()
        self._plan()
        if not world.fate.strikes(kind) or holder not in world.holders:
            return
        match kind:
            case "stop":
                world.chronicle(f"{holder.tenant} is stopped for {pause:.1f} s")
                holder.stop(pause)
            case "death":
                world.end(holder)
            case "cut":
                if holder.stream is not None and not (self._calm and holder.bytes == 0):
                    world.chronicle(f"stream {holder.stream} of {holder.tenant} breaks")
                    world.cut(holder.stream)
            case "kill":
                if not self._calm:
                    world.kill_arbiter("between two steps")
            case "operator":
                self._operate(share)
            case _:
                self._intrude(holder, share)

    def _operate(self, share: float) -> None:
        world = self._world
        leases = list(world.state.leases.values()) if world.state is not None else []
        if leases and share < 0.4:
            # The youngest may not have loaded anything yet.
            lease = max(leases, key=lambda one: one.granted_at)
            world.happen(events.Revoke(lease_id=lease.lease_id, reason="operator"))
        elif leases and share < 0.6:
            lease = leases[int(1000 * share) % len(leases)]
            world.happen(events.Revoke(lease_id=lease.lease_id, reason=""))
        elif share < 0.8:
            world.happen(events.ReclaimIdle(device=None, bytes=0))
        else:
            world.happen(events.ReclaimIdle(device="a:0", bytes=1 + int(BUDGET * (share - 0.8))))

    def _intrude(self, holder: Holder, share: float) -> None:
        """Somebody shows a token that is not its own, or speaks without having asked for anything."""
        world = self._world
        stream, process = world.new_stream(), world.new_process()
        token = holder.request.resume_token if holder.request is not None else "no such token"
        event: events.Event
        if share < 0.4:
            event = events.Resume(stream=stream, tenant=holder.tenant, resume_token=token, process=process)
        elif share < 0.7:
            grade = Footprint(name="g", bytes=1)
            request = Request(tenant=holder.tenant, footprints=(grade,), process=process, resume_token=token)
            event = events.Acquire(stream=stream, request=request)
        elif share < 0.8:
            event = events.Resume(stream=stream, tenant=holder.tenant, resume_token=f"not {token}", process=process)
        else:
            event = events.Heartbeat(stream=stream, sequence=1, used=5)
        world.happen(event)
        world.after(1.0, partial(world.happen, events.StreamEnded(stream=stream)))
        world.after(1.5, partial(world.happen, events.ProcessGone(process=process)))
