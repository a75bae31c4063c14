"""A worker with a job store, an arbiter and a relay for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from milimo_runtime.job_store import JobStore
from milimo_storyboard.job_relay import JobRelay

from .studio import Studio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from milimo_runtime.database import Database


@pytest.fixture
async def studio(
    film_home: Path,
    database_url: str,
    database: Database,
    project: str,
    arbiter_process: Callable[[], AbstractAsyncContextManager[Any]],
    service_process: Callable[..., AbstractAsyncContextManager[Any]],
    free_address: Callable[[], str],
) -> AsyncIterator[Studio]:
    async with arbiter_process() as arbiter:
        made = Studio(
            home=film_home,
            database_url=database_url,
            arbiter=arbiter,
            start_process=service_process,
            store=JobStore(database),
            project=project,
            address=free_address(),
        )
        async with made.stack:
            await made.start()
            yield made


@pytest.fixture
async def relay(studio: Studio) -> AsyncIterator[JobRelay]:
    opened = JobRelay(studio.store, [studio.address])
    yield opened
    await opened.close()
