"""What leases have in these tests: a TTL that is over soon."""

from __future__ import annotations

import pytest

from .holders import TTL_S


@pytest.fixture
def arbiter_ttl_s() -> float:
    return TTL_S
