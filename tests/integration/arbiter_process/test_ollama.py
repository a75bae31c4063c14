"""Ollama beside the tenants: what it holds is not lent, and asked for when it is wanted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from milimo_arbiter.devices import MemoryMisconfigured, host_memory
from milimo_arbiter.external import Ollama, Seen, find_programs
from milimo_arbiter.settings import ArbiterSettings
from milimo_runtime.errors import MilimoError

from .holders import hold
from .ollama import OllamaServer, ollama_server

if TYPE_CHECKING:
    from pathlib import Path

    from .holders import Started


async def test_what_it_holds_is_asked_for_when_a_tenant_waits(arbiter_process: Started) -> None:
    total = host_memory()
    async with ollama_server() as ollama:
        # All of the host's memory but a little: only the little is left to lend.
        ollama.installed["gemma3"] = total - 400
        await generate(ollama.url, "gemma3", prompt="Hello")
        ollama.finished.clear()
        await arbitrate(arbiter_process, ollama, total)


async def arbitrate(arbiter_process: Started, ollama: OllamaServer, total: int) -> None:
    async with arbiter_process(ollama=ollama.url) as arbiter:
        status = await arbiter.until(lambda one: one.devices[0].external_bytes == total - 400)
        assert (status.externals[0].name, status.externals[0].reclaiming) == ("ollama", False)
        small = await hold(arbiter, "sam", 300)
        waiter = asyncio.create_task(hold(arbiter, "video", 600))
        status = await arbiter.until(lambda one: bool(one.externals[0].reclaiming and one.queue))
        assert status.queue[0].reason == "memory of ollama is on its way back"
        assert "evict_requested" in [decision.action for decision in status.decisions]
        assert not waiter.done(), "it finishes its answer first"
        ollama.finished.set()
        video = await waiter
        assert "gemma3" not in ollama.loaded
        assert small.lost is None
        await video.release()
        await small.release()


async def test_while_nobody_knows_what_it_holds_nothing_is_lent(arbiter_process: Started) -> None:
    async with ollama_server() as ollama:
        ollama.installed["gemma3"] = 5
        ollama.status = 500
        async with arbiter_process(ollama=ollama.url) as arbiter:
            with pytest.raises(MilimoError, match="MILIMO_ARBITER_OLLAMA_BYTES") as caught:
                await hold(arbiter, "video", 600)
            assert (caught.value.status, caught.value.reason) == ("FAILED_PRECONDITION", "EXTERNAL_UNKNOWN")
            assert (await arbiter.status()).externals[0].problem.startswith("HTTPStatusError")
            ollama.status = 200
            await arbiter.until(lambda one: one.externals[0].HasField("bytes"))
            video = await hold(arbiter, "video", 600)
            await video.release()


async def generate(url: str, model: str, **more: Any) -> httpx.Response:
    """What a user of Ollama asks of it."""
    async with client(url) as asking:
        return await asking.post("/api/generate", json={"model": model, "stream": False, **more})


def client(url: str, *, patience_s: float = 3.0) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=patience_s)


BAD_ANSWERS: dict[str, dict[str, Any]] = {
    "an error": {"status": 503},
    "no JSON": {"body": "<html>"},
    "no list": {"body": '{"models": 5}'},
    "another program": {"body": "{}"},
    "no size": {"body": '{"models": [{"name": "a"}]}'},
    "a negative size": {"body": '{"models": [{"name": "a", "size": 5, "size_vram": -1}]}'},
}


@pytest.mark.parametrize("bad", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_a_bad_answer_changes_nothing_about_what_is_known(bad: dict[str, Any]) -> None:
    async with ollama_server() as server:
        known = Ollama(server.url, "cpu:0", assumed=None)
        unknown = Ollama(server.url, "cpu:0", assumed=None)
        assumed = Ollama(server.url, "cpu:0", assumed=70)
        server.installed["a"] = server.loaded["a"] = 50
        assert await known.look() == Seen(bytes=50, busy=True)
        for name, value in bad.items():
            setattr(server, name, value)
        seen = [await one.look() for one in (known, unknown, assumed)]
        assert [one.bytes for one in seen] == [50, None, 70]
        assert all(one.problem for one in seen)
        await known.evict()
        for one in (known, unknown, assumed):
            await one.close()


async def test_one_that_does_not_answer_in_time_and_one_that_is_not_there_are_different() -> None:
    async with ollama_server() as server:
        one = Ollama(server.url, "cpu:0", assumed=None, client=client(server.url, patience_s=0.05))
        server.installed["a"] = 50
        server.stalls.clear()
        assert (await one.look()).bytes is None
        server.stalls.set()
        server.loaded["a"] = 50
        assert (await one.look()).bytes == 50
    assert await one.look() == Seen(bytes=0), "nobody listens"
    await one.close()


async def test_it_is_busy_while_its_models_are_used_and_those_that_have_gone_need_no_unload() -> None:
    async with ollama_server() as server:
        one = Ollama(server.url, "cpu:0", assumed=None)
        server.loaded.update(a=50, b=20)
        assert await one.look() == Seen(bytes=70, busy=True)
        assert await one.look() == Seen(bytes=70, busy=False)
        server.uses += 1
        assert await one.look() == Seen(bytes=70, busy=True)
        await one.evict()
        assert server.requests.count("POST /api/generate") == 2
        assert await one.look() == Seen(bytes=0)
        await one.close()


async def test_one_without_models_holds_nothing_whatever_it_says() -> None:
    async with ollama_server() as server:
        server.status = 500
        one = Ollama(server.url, "cpu:0", assumed=None)
        seen = await one.look()
        assert seen.bytes == 0
        assert seen.problem.startswith("HTTPStatusError")
        server.installed["a"] = 50
        assert (await one.look()).bytes is None
        await one.close()


async def test_a_model_is_seen_as_it_comes_and_goes() -> None:
    async with ollama_server() as server, client(server.url) as user:
        one = Ollama(server.url, "cpu:0", assumed=None)
        server.installed.update(a=50, b=20)
        assert [tag["size"] for tag in (await user.get("/api/tags")).json()["models"]] == [50, 20]
        assert (await user.post("/api/show", json={"model": "a"})).json()["details"]["format"] == "gguf"
        assert (await user.post("/api/show", json={"model": "c"})).status_code == httpx.codes.NOT_FOUND
        assert await one.look() == Seen(bytes=0)
        assert (await generate(server.url, "a", prompt="Hello")).json()["done"]
        assert await one.look() == Seen(bytes=50, busy=True)
        await generate(server.url, "b", prompt="Hello")
        await generate(server.url, "a", keep_alive=0)
        assert await one.look() == Seen(bytes=20, busy=True)
        await one.close()


def test_on_several_devices_it_has_to_be_said_where_it_runs(tmp_path: Path) -> None:
    settings = ArbiterSettings(home=tmp_path, arbiter_ollama_url="http://127.0.0.1:1")
    (only,) = find_programs(settings, ["cuda:0"])
    assert only.device == "cuda:0"
    with pytest.raises(MemoryMisconfigured, match="MILIMO_ARBITER_OLLAMA_DEVICE says nothing"):
        find_programs(settings, ["cuda:0", "cuda:1"])
    elsewhere = settings.model_copy(update={"arbiter_ollama_device": "cuda:9"})
    with pytest.raises(MemoryMisconfigured, match="says cuda:9"):
        find_programs(elsewhere, ["cuda:0"])
    assert find_programs(ArbiterSettings(home=tmp_path), ["cuda:0"]) == ()
