"""A step in the making: the working state, the effects so far, and the moves that the rules are made of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from milimo_arbiter.effects import Close, Decided, Evict, Forget, Granted, ReclaimRequested, Revoked, Save, Send, Watch
from milimo_arbiter.memory import is_succeeded_by
from milimo_arbiter.state import Lease, Quarantine, Reclaim, Turn

if TYPE_CHECKING:
    from milimo_arbiter.effects import Effect, Reply
    from milimo_arbiter.plan import Grant
    from milimo_arbiter.state import State


class Transition:
    """Collects what one step changes. Lives no longer than the step."""

    def __init__(self, state: State, now: float) -> None:
        self.state = state
        self.now = now
        self.effects: list[Effect] = []

    def send(self, stream: int | None, reply: Reply) -> None:
        """Writes to a stream, if there is one."""
        if stream is not None:
            self.effects.append(Send(stream=stream, reply=reply))

    def put(self, lease: Lease) -> None:
        """Changes a lease in memory only: what a restart may forget."""
        self.state = self.state.with_lease(lease)

    def save(self, lease: Lease) -> None:
        """Changes a lease in memory and on record."""
        self.put(lease)
        self.effects.append(Save(lease=lease))

    def decide(self, action: str, lease: Lease, reason: str, size: int | None = None) -> None:
        """Records a decision about a lease."""
        self.effects.append(
            Decided(
                at=self.now,
                action=action,
                tenant=lease.tenant,
                device=lease.device,
                bytes=lease.bytes if size is None else size,
                reason=reason,
                job_id=lease.turn.job_id if lease.turn else "",
                fencing_token=lease.fencing_token,
            )
        )

    def grant(self, grant: Grant) -> None:
        """Gives the waiter its lease, with the next fencing token of the device."""
        waiter, request = grant.waiter, grant.waiter.request
        for old in [lease for lease in self.state.leases.values() if is_succeeded_by(lease, waiter)]:
            if old.device == grant.device:
                self.free(old, "freed", "the same process takes its memory up again")
        token = self.state.tokens.get(grant.device, 0) + 1
        lease = Lease(
            # A token is never used twice on a device, so neither is the id.
            lease_id=f"{grant.device.replace(':', '-')}-{token}",
            tenant=request.tenant,
            device=grant.device,
            footprint=grant.footprint.name,
            bytes=grant.footprint.bytes,
            load_seconds=grant.footprint.load_seconds,
            fencing_token=token,
            resume_token=request.resume_token,
            process=request.process,
            min_hold_s=request.min_hold_s,
            granted_at=self.now,
            expires_at=self.now + self.state.policy.ttl_s,
            last_used=self.now,
            stream=waiter.stream,
            # The answer to the request itself: its sender counts the TTL from when it asked, so it may begin at once.
            # Who has waited since cannot know when this was sent, and tells that it has come.
            confirmed=waiter.told_position == 0,
            turn=Turn(job_id=request.job_id, since=self.now),
            workload=request.workload,
        )
        self.state = replace(
            self.state.without_waiter(waiter.stream), tokens={**self.state.tokens, grant.device: token}
        )
        self.save(lease)
        if lease.process is not None:
            self.effects.append(Watch(process=lease.process))
        self.send(lease.stream, Granted(lease=lease, ttl_s=self.state.policy.ttl_s))
        waited = self.now - waiter.since
        self.decide("granted", lease, f"{lease.footprint} fits" + (f" after {waited:.1f} s" if waited >= 0.1 else ""))

    def free(self, lease: Lease, action: str, reason: str) -> None:
        """The lease's bytes are free."""
        self.state = self.state.without_lease(lease.lease_id)
        self.effects.append(Forget(lease_id=lease.lease_id))
        self.decide(action, lease, reason)

    def quarantine(self, lease: Lease, action: str, reason: str, *, released: bool = False) -> None:
        """The lease is over; its bytes stay occupied."""
        over = replace(
            lease,
            quarantine=Quarantine(since=self.now, reason=reason, released=released),
            reclaim=None,
            wanted_since=None,
            turns=0,
        )
        self.save(over)
        self.decide(action, over, reason)

    def take_away(self, lease: Lease, action: str, reason: str) -> None:
        """The holder loses the lease, and hears of it if it can."""
        if lease.confirmed:
            self.quarantine(lease, action, reason)
        else:
            # Whoever never answered the offer has not touched the device.
            self.free(lease, action, reason)
        self.send(lease.stream, Revoked(reason=reason))
        if not lease.confirmed and lease.stream is not None:
            self.effects.append(Close(stream=lease.stream))

    def evict(self, name: str, reason: str) -> None:
        """Asks a program that is no tenant for all that it holds."""
        program = replace(self.state.externals[name], asked_at=self.now)
        self.state = replace(self.state, externals={**self.state.externals, name: program})
        self.effects.append(Evict(name=name))
        self.effects.append(
            Decided(
                at=self.now,
                action="evict_requested",
                tenant=name,
                device=program.device,
                bytes=program.bytes or 0,
                reason=reason,
            )
        )

    def ask(self, lease: Lease, size: int, reason: str) -> None:
        """Asks the holder for bytes, on top of what it was asked for before."""
        policy = self.state.policy
        before = lease.reclaim
        if before is None:
            wait = policy.idle_deadline_s if lease.turn is None else policy.busy_deadline_s
            reclaim = Reclaim(bytes=size, asked_at=self.now, deadline=self.now + wait, reason=reason)
        else:
            reclaim = replace(before, bytes=before.bytes + size)
        self.put(replace(lease, reclaim=reclaim, wanted_since=None, turns=0))
        self.send(
            lease.stream,
            ReclaimRequested(bytes=reclaim.bytes, deadline_s=reclaim.deadline - self.now, reason=reclaim.reason),
        )
        self.decide("reclaim_requested", lease, reason, size)
