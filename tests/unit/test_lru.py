"""The cache bounded by bytes, held to a simple model of least recently used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from milimo_runtime.lru import ByteBoundedCache

OPERATIONS = st.lists(st.tuples(st.sampled_from(["get", "put"]), st.integers(0, 5), st.integers(0, 12)), max_size=60)


@given(operations=OPERATIONS, bound=st.integers(0, 25))
def test_keeps_what_was_used_last_within_the_bound(operations: list[tuple[str, int, int]], bound: int) -> None:
    cache: ByteBoundedCache[int, bytes] = ByteBoundedCache(max_bytes=bound, size_of=len)
    model: list[tuple[int, bytes]] = []  # least recently used first
    for operation, key, size in operations:
        known = dict(model)
        model = [entry for entry in model if entry[0] != key]
        if operation == "get":
            assert cache.get(key) == known.get(key)
            if key in known:
                model.append((key, known[key]))
        else:
            cache.put(key, bytes(size))
            if size <= bound:
                while sum(len(value) for _, value in model) + size > bound:
                    model.pop(0)
                model.append((key, bytes(size)))
        assert cache.used_bytes == sum(len(value) for _, value in model) <= bound
        assert len(cache) == len(model)
    for key, value in model:
        assert cache.get(key) == value


def test_computes_only_what_is_missing() -> None:
    cache: ByteBoundedCache[str, bytes] = ByteBoundedCache(max_bytes=10, size_of=len)
    computed: list[str] = []

    def compute() -> bytes:
        computed.append("x")
        return b"four"

    assert [cache.get_or_compute("a", compute) for _ in range(3)] == [b"four"] * 3
    assert len(computed) == 1
    cache.clear()
    assert cache.used_bytes == 0
    assert cache.get("a") is None


def test_negative_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        ByteBoundedCache(max_bytes=-1, size_of=len)
