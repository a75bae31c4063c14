"""What is sent on one call: everything in its order, and of places in the queue no more than can be read."""

from __future__ import annotations

from milimo_arbiter.effects import Queued, Released, Renewed
from milimo_arbiter.stream import Stream


def place(position: int) -> Queued:
    return Queued(position=position, reason="it is used")


async def later() -> None:
    """Past the time at which a place would be told that was held back before this."""
    other = Stream(2)
    for position in (2, 1):
        other.say_place(place(position), 0.01)
        await other.replies.get()


async def test_of_places_that_follow_each_other_the_first_and_the_latest_are_told() -> None:
    stream = Stream(1)
    for position in (5, 4, 3, 2):
        stream.say_place(place(position), 0.05)
    assert [(await stream.replies.get()), (await stream.replies.get())] == [place(5), place(2)]
    assert stream.replies.empty()


async def test_a_few_that_wait_hear_of_each_place() -> None:
    stream = Stream(1)
    for position in (3, 2, 1):
        stream.say_place(place(position), 0.0)
    assert [stream.replies.get_nowait() for _ in range(3)] == [place(3), place(2), place(1)]


async def test_a_grant_does_not_wait_for_a_place_and_none_comes_after_it() -> None:
    stream = Stream(1)
    stream.say_place(place(2), 0.01)
    stream.say_place(place(1), 0.01)
    stream.say(Renewed(sequence=1))
    assert [stream.replies.get_nowait() for _ in range(2)] == [place(2), Renewed(sequence=1)]
    # Whoever asks again later is told at once, and then as before.
    await later()
    assert stream.replies.empty()
    stream.say_place(place(4), 0.01)
    assert stream.replies.get_nowait() == place(4)


async def test_nothing_is_told_after_the_end() -> None:
    stream = Stream(1)
    stream.say_place(place(2), 0.01)
    stream.say_place(place(1), 0.01)
    stream.say(Released())
    stream.end()
    await later()
    assert [stream.replies.get_nowait() for _ in range(3)] == [place(2), Released(), None]
    assert stream.replies.empty()
