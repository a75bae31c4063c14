"""A storyboard process for each test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from milimo_runtime.channels import open_channel

from .board import PATIENCE_S, Storyboard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path


@pytest.fixture
async def storyboard(
    tmp_path: Path,
    database_url: str,
    service_process: Callable[..., AbstractAsyncContextManager[Any]],
    free_address: Callable[[], str],
) -> AsyncIterator[Storyboard]:
    home, address = tmp_path / "home", free_address()
    environment = {
        "MILIMO_HOME": home,
        "MILIMO_MODEL_FAMILY": "tiny",
        "MILIMO_DATABASE_URL": database_url,
        "MILIMO_STORYBOARD_ADDRESS": address,
        "MILIMO_VIDEO_ADDRESS": free_address(),
        "MILIMO_IMAGE_ADDRESS": free_address(),
    }
    async with service_process("-m", "milimo_storyboard", environment=environment) as process:
        channel = open_channel(address)
        async with asyncio.timeout(PATIENCE_S):
            await channel.channel_ready()
        yield Storyboard(process, address, channel, home)
        await channel.close()
