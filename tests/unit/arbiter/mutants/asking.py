"""Broken ways of rule 1: a stream asks for a lease."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from milimo_arbiter import admission, core, effects, events, plan

from .patching import without

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from milimo_arbiter.state import Lease, ProcessIdentity, Request, State
    from milimo_arbiter.transition import Transition


def let_streams_ask_twice(patch: pytest.MonkeyPatch) -> None:
    """A second request on a stream replaces the first."""
    patch.setattr(admission, "_has_claim", lambda state, stream: False)


def admitted(patch: pytest.MonkeyPatch, *refusals: effects.Refusal) -> None:
    """What should be refused waits."""

    def refusal(state: State, stream: int, request: Request) -> tuple[effects.Refusal, str] | None:
        found = original(state, stream, request)
        return None if found is not None and found[0] in refusals else found

    original = admission._refusal
    patch.setattr(admission, "_refusal", refusal)


def queue_what_never_fits(patch: pytest.MonkeyPatch) -> None:
    """A request that is larger than any device waits for ever."""
    admitted(patch, effects.Refusal.FOOTPRINT_TOO_LARGE)


def queue_what_is_for_another_host(patch: pytest.MonkeyPatch) -> None:
    """A request for a device that is not there waits for ever."""
    admitted(patch, effects.Refusal.DEVICE_UNKNOWN)


def refuse_for_one_grade(patch: pytest.MonkeyPatch) -> None:
    """One grade that is too large has the whole request refused."""

    def refusal(state: State, stream: int, request: Request) -> tuple[effects.Refusal, str] | None:
        sizes = {
            device: footprint.bytes > state.devices[device].budget
            for footprint in request.footprints
            for device in footprint.places(state.devices)
        }
        if any(sizes.values()):
            return effects.Refusal.FOOTPRINT_TOO_LARGE, ""
        return original(state, stream, request)

    original = admission._refusal
    patch.setattr(admission, "_refusal", refusal)


def queue_without_end(patch: pytest.MonkeyPatch) -> None:
    """The queue has no bound."""
    admitted(patch, effects.Refusal.QUEUE_FULL)


def lose_requests(patch: pytest.MonkeyPatch) -> None:
    """A request is neither refused nor does it wait."""

    def acquire(change: Transition, event: events.Acquire) -> None:
        original(change, event)
        change.state = change.state.without_waiter(event.stream)

    original = admission.acquire
    patch.setattr(core, "acquire", acquire)


def say_nothing_to_the_lost(patch: pytest.MonkeyPatch) -> None:
    """Who resumes what is over hears nothing."""

    def resume(change: Transition, event: events.Resume) -> None:
        if admission._lease_of(change.state, event.resume_token) is not None:
            original(change, event)

    original = admission.resume
    patch.setattr(core, "resume", resume)


def taken_up_otherwise(patch: pytest.MonkeyPatch, take_up: Callable[..., None]) -> None:
    """`take_up` gets the original first."""
    original = admission._take_up
    patch.setattr(admission, "_take_up", lambda *arguments: take_up(original, *arguments))


def believe_any_token(patch: pytest.MonkeyPatch) -> None:
    """Whoever shows a token has the lease."""

    def take_up(
        original: Callable[..., None],
        change: Transition,
        lease: Lease,
        stream: int,
        tenant: str,
        process: ProcessIdentity | None,
        reason: str,
    ) -> None:
        original(change, lease, stream, lease.tenant, lease.process, reason)

    taken_up_otherwise(patch, take_up)


def share_the_tokens_of_those_who_wait(patch: pytest.MonkeyPatch) -> None:
    """Whoever repeats the request of another has its place."""
    patch.setattr(admission, "_is_same", lambda one, other: True)


def revive_by_resuming(patch: pytest.MonkeyPatch) -> None:
    """A lease that was lost is held again by its return."""

    def take_up(original: Callable[..., None], change: Transition, lease: Lease, stream: int, *more: object) -> None:
        original(change, replace(lease, quarantine=None), stream, *more)

    taken_up_otherwise(patch, take_up)


def leave_older_streams_open(patch: pytest.MonkeyPatch) -> None:
    """A holder that is back has two streams."""

    def take_up(original: Callable[..., None], change: Transition, *more: object) -> None:
        since = len(change.effects)
        original(change, *more)
        without(change, effects.Close, since)

    taken_up_otherwise(patch, take_up)


def forget_wishes(patch: pytest.MonkeyPatch) -> None:
    """A holder that is back does not hear what it was asked for while it was away."""

    def take_up(original: Callable[..., None], change: Transition, *more: object) -> None:
        since = len(change.effects)
        original(change, *more)
        change.effects[since:] = [
            one
            for one in change.effects[since:]
            if not (isinstance(one, effects.Send) and isinstance(one.reply, effects.ReclaimRequested))
        ]

    taken_up_otherwise(patch, take_up)


def forget_repeats(patch: pytest.MonkeyPatch) -> None:
    """A request that is repeated, since its answer was lost, counts as another one."""
    patch.setattr(admission, "_lease_of", lambda state, token: None)


def wait_twice(patch: pytest.MonkeyPatch) -> None:
    """A request that is repeated is taken for somebody else's."""
    patch.setattr(admission, "_is_same", lambda one, other: False)


def lose_its_place(patch: pytest.MonkeyPatch) -> None:
    """A request that is repeated goes to the end of the queue."""

    def acquire(change: Transition, event: events.Acquire) -> None:
        waiting = {one.request.resume_token for one in change.state.waiters.values()}
        original(change, event)
        waiter = change.state.waiters.get(event.stream)
        if waiter is not None and event.request.resume_token in waiting:
            change.state = change.state.with_waiter(replace(waiter, since=change.now))

    original = admission.acquire
    patch.setattr(core, "acquire", acquire)


def admit_beside_the_unknown(patch: pytest.MonkeyPatch) -> None:
    """Who asks for memory of which nobody knows how much there is, waits and does not hear why."""
    patch.setattr(admission, "is_unknown", lambda state, device: False)


def take_unknown_for_nothing(patch: pytest.MonkeyPatch) -> None:
    """What a program holds is not known, and counts as nothing."""
    patch.setattr(plan, "is_unknown", lambda state, device: False)
    patch.setattr(admission, "is_unknown", lambda state, device: False)
