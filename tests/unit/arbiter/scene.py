"""An arbiter to play scenes with: its core, one device, and what it did last."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from milimo_arbiter import effects, events
from milimo_arbiter.core import step
from milimo_arbiter.state import (
    Device,
    Footprint,
    Lease,
    Policy,
    ProcessIdentity,
    Request,
    Sample,
    State,
    restored,
)

POLICY = Policy(
    ttl_s=12.0,
    grace_s=15.0,
    queue_bound=4,
    ageing_s=60.0,
    batch_turns=2,
    batch_s=30.0,
    idle_deadline_s=10.0,
    busy_deadline_s=120.0,
    settle_s=5.0,
    downgrade_s=30.0,
    busy_wait_s=60.0,
    reload_bytes_per_s=1.0,
    context_bytes=2,
)


def process(pid: int) -> ProcessIdentity:
    return ProcessIdentity(pid=pid, start_ticks=1000 + pid, pid_namespace=1)


def request(tenant: str, *sizes: int, pid: int | None = None, **more: object) -> Request:
    """A request with one grade for each size, "g0" the best."""
    footprints = tuple(Footprint(name=f"g{rank}", bytes=size) for rank, size in enumerate(sizes))
    values: dict[str, object] = {
        "footprints": footprints,
        "job_id": f"job of {tenant}",
        "resume_token": f"token of {tenant}",
    }
    identity = None if pid is None else process(pid)
    return Request(tenant=tenant, process=identity, **{**values, **more})  # type: ignore[arg-type]


@dataclass
class Scene:
    """An arbiter with one device of 100 bytes, and what it did last."""

    state: State = field(
        default_factory=lambda: State(policy=POLICY, devices={"a:0": Device(id="a:0", name="", total=110, reserve=10)})
    )
    now: float = 0.0
    done: tuple[effects.Effect, ...] = ()

    def do(self, event: events.Event, at: float | None = None) -> Scene:
        self.now = self.now if at is None else at
        self.state, self.done = step(self.state, event, self.now)
        return self

    def acquire(self, stream: int, tenant: str, *sizes: int, at: float | None = None, **more: object) -> Scene:
        return self.do(events.Acquire(stream=stream, request=request(tenant, *sizes, **more)), at)  # type: ignore[arg-type]

    def hold(self, stream: int, tenant: str, *sizes: int, idle: bool = False, **more: object) -> Scene:
        """Acquires, confirms, and goes idle if asked to."""
        self.acquire(stream, tenant, *sizes, **more)  # type: ignore[arg-type]
        self.beat(stream)
        return self.do(events.Idle(stream=stream)) if idle else self

    def beat(self, stream: int, at: float | None = None, used: int | None = None) -> Scene:
        return self.do(events.Heartbeat(stream=stream, sequence=7, used=used), at)

    def sent(self, stream: int) -> list[effects.Reply]:
        return [one.reply for one in self.done if isinstance(one, effects.Send) and one.stream == stream]

    def queued(self, stream: int) -> list[effects.Queued]:
        return [one for one in self.sent(stream) if isinstance(one, effects.Queued)]

    def decided(self) -> list[str]:
        return [one.action for one in self.done if isinstance(one, effects.Decided)]

    def closed(self) -> list[int]:
        return [one.stream for one in self.done if isinstance(one, effects.Close)]

    def refused(self) -> list[effects.Refusal]:
        return [one.refusal for one in self.done if isinstance(one, effects.Refuse)]

    def lease(self, tenant: str) -> Lease:
        return next(lease for lease in self.state.leases.values() if lease.tenant == tenant)

    def tenants(self) -> set[str]:
        return {lease.tenant for lease in self.state.leases.values()}

    def with_driver(self) -> Scene:
        self.state = replace(self.state, devices={"a:0": replace(self.state.devices["a:0"], driver=True)})
        return self

    def sample(self, used: int, by: dict[int, int] | None, *, at: float, begun: float | None = None) -> Scene:
        by_process = None if by is None else {process(pid): size for pid, size in by.items()}
        sample = Sample(at=at if begun is None else begun, used=used, by_process=by_process)
        return self.do(events.Sampled(device="a:0", sample=sample), at)


def restart(scene: Scene, at: float) -> Scene:
    """The arbiter dies and starts again with what it has saved."""
    scene.now = at
    scene.state = restored(POLICY, scene.state.devices, scene.state.leases, scene.state.tokens, at)
    return scene


def resume(tenant: str, stream: int, pid: int) -> events.Resume:
    return events.Resume(stream=stream, tenant=tenant, resume_token=f"token of {tenant}", process=process(pid))
