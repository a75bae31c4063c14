"""What the holders of the simulated world ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo_arbiter.state import Footprint, Priority, Request, Workload

if TYPE_CHECKING:
    from milimo_arbiter.simulation.fate import Fate
    from milimo_arbiter.state import ProcessIdentity


def new_request(fate: Fate, *, tenant: str, process: ProcessIdentity, number: int) -> Request:
    """The tenant's request of that number; now and then one that nobody could ever serve."""
    chance = fate.random(tenant)
    sizes = sorted((chance.randint(5, 100) for _ in range(chance.choice([1, 1, 2, 3]))), reverse=True)
    request = Request(
        tenant=tenant,
        footprints=tuple(
            Footprint(name=f"g{index}", bytes=size, load_seconds=chance.choice([0.0, size / 10]))
            for index, size in enumerate(sizes)
        ),
        priority=chance.choice(list(Priority)),
        min_hold_s=chance.choice([0.0, 0.0, 3.0]),
        job_id=f"{tenant}-{number}",
        process=process,
        workload=chance.choice([None, workload(tenant, chance.randint(1, 3))]),
        resume_token=f"{process.pid}-{number}",
    )
    if fate.strikes("request too large", 0.03):
        return _with(request, bytes_=101)
    if fate.strikes("request for another host", 0.02):
        return _with(request, bytes_=5, devices=("b:0",))
    return request


def second_request(request: Request) -> Request:
    """Another one of the same process, which asks on a stream that has a claim already."""
    return _with(request, bytes_=5, token=f"{request.resume_token}-second")


def workload(tenant: str, size: int) -> Workload:
    """One of the few things that a tenant computes."""
    return Workload(model=tenant, width=size, height=size, frames=1)


def _with(request: Request, *, bytes_: int, devices: tuple[str, ...] = (), token: str = "") -> Request:
    return Request(
        tenant=request.tenant,
        footprints=(Footprint(name="other", bytes=bytes_, devices=devices),),
        priority=request.priority,
        job_id=request.job_id,
        process=request.process,
        resume_token=token or request.resume_token,
    )
