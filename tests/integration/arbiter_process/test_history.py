"""An arbiter that is killed again and again under load, and what the history of its holders shows."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from milimo_runtime.lease import withdraw

from .holders import hold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .holders import Started

BUDGET = 1_000


@dataclass(frozen=True, kw_only=True)
class Hold:
    """A lease in the eyes of its holder: when it asked, from when it knew to when it stopped."""

    token: int
    bytes: int
    asked: float
    begin: float
    end: float


def check(history: Sequence[Hold]) -> None:
    """No token twice, tokens rise with the time of their grants, and never more held at once than there is.

    A grant happens at some moment between its request and its holder's knowing: what is known of it before another was
    asked for came before that one (Herlihy and Wing, "Linearizability", 1990).
    """
    by_token = sorted(history, key=lambda one: one.token)
    assert len({one.token for one in history}) == len(history), "a token was used twice"
    last_asked = by_token[0]
    for one in by_token:
        assert last_asked.asked <= one.begin, (
            f"token {one.token} was held before token {last_asked.token} was asked for"
        )
        last_asked = max(last_asked, one, key=lambda each: each.asked)
    held = 0
    changes = [(one.begin, 1, one.bytes) for one in history] + [(one.end, 0, -one.bytes) for one in history]
    for at, _, size in sorted(changes):
        held += size
        assert held <= BUDGET, f"{held} bytes are held at {at}"


BROKEN: dict[str, list[Hold]] = {
    "a token was used twice": [
        Hold(token=1, bytes=1, asked=0.0, begin=0.0, end=1.0),
        Hold(token=1, bytes=1, asked=0.0, begin=2.0, end=3.0),
    ],
    "held before token 1 was asked for": [
        Hold(token=3, bytes=1, asked=0.0, begin=0.0, end=1.0),
        Hold(token=1, bytes=1, asked=1.0, begin=2.0, end=3.0),
        Hold(token=2, bytes=1, asked=0.0, begin=2.0, end=3.0),
    ],
    "bytes are held at": [
        Hold(token=1, bytes=600, asked=0.0, begin=0.0, end=2.0),
        Hold(token=2, bytes=500, asked=0.0, begin=1.0, end=3.0),
    ],
}


@pytest.mark.parametrize(("law", "history"), BROKEN.items(), ids=BROKEN)
def test_the_checker_sees_a_broken_history(law: str, history: list[Hold]) -> None:
    with pytest.raises(AssertionError, match=law):
        check(history)


async def work(
    arbiter: Any, tenant: str, chance: random.Random, history: list[Hold], served: asyncio.Event, enough: asyncio.Event
) -> None:
    """Asks, holds for a moment, gives back; takes every sixth request back before it is served."""
    while not enough.is_set():
        asked = time.monotonic()
        request = asyncio.create_task(hold(arbiter, tenant, chance.choice([300, 500, 700])))
        if chance.random() < 1 / 6:
            await asyncio.sleep(chance.uniform(0, 0.02))
            await withdraw(request)
            continue
        lease = await request
        begin = time.monotonic()
        await asyncio.sleep(chance.uniform(0, 0.05))
        lease.check()
        end = time.monotonic()
        grant = lease.grant
        history.append(Hold(token=grant.fencing_token, bytes=grant.bytes, asked=asked, begin=begin, end=end))
        served.set()
        await lease.release()


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.soak)])
async def test_tokens_and_exclusivity_hold_while_the_arbiter_is_killed_under_load(
    kills: int, arbiter_process: Started
) -> None:
    chance = random.Random(7)
    history: list[Hold] = []
    served, enough = asyncio.Event(), asyncio.Event()
    # The grace window is long, and ends early each time: every holder comes back, or takes its request back.
    async with arbiter_process(ttl_s=10.0) as arbiter, asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(work(arbiter, f"tenant-{number}", random.Random(number), history, served, enough))
        for _ in range(kills):
            before = len(history)
            async with asyncio.timeout(60):
                while len(history) < before + 5:
                    served.clear()
                    await served.wait()
            await asyncio.sleep(chance.uniform(0.0, 0.03))
            await arbiter.kill()
            await arbiter.start()
        enough.set()
    check(history)
    assert len(history) >= 5 * kills
