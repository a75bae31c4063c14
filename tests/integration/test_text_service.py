"""The text service on a tiny Gemma 3 and a real arbiter: what it answers and refuses, and who waits for whom."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from milimo.v1 import arbiter_pb2 as pb
from milimo.v1 import common_pb2, text_pb2
from milimo_runtime.calls import Calls, closing_calls
from milimo_runtime.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable
from milimo_runtime.lease_terms import LeaseLost
from milimo_runtime.model_process import open_model_process
from milimo_runtime.registry import ModelFootprint, write_manifest
from milimo_runtime.settings import ServiceSettings
from milimo_runtime.vision_ops import prepare_torchvision
from milimo_tiny.gemma_tokenizer import build_tokenizer
from milimo_video.text_service import TextGenerationService
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from milimo_runtime.model_process import ModelProcess

    Opened = Callable[..., AbstractAsyncContextManager["Text"]]

PATIENCE_S = 20.0
TITLE = {"type": "object", "properties": {"title": {"type": "string"}, "n": {"type": "integer"}}}
SCHEMA = {**TITLE, "required": ["title", "n"], "additionalProperties": False}
CHAT = [
    text_pb2.ChatMessage(role=text_pb2.CHAT_ROLE_SYSTEM, text="Be brief."),
    text_pb2.ChatMessage(role=text_pb2.CHAT_ROLE_USER, text="What happens?"),
]


@dataclass
class Pipeline:
    text_encoder: Any
    tokenizer: Any


@dataclass
class Models:
    text_to_video: Pipeline

    @property
    def device(self) -> Any:
        return self.text_to_video.text_encoder.device


@dataclass
class LoadedText:
    """Of a loaded video model what text needs."""

    models: Models
    weight_bytes: int = 500

    def modules(self) -> list[Any]:
        return [self.models.text_to_video.text_encoder]

    def drop_caches(self) -> None:
        """There are none."""


@dataclass
class Text:
    """The service with what is around it."""

    service: TextGenerationService
    process: ModelProcess[Any]
    arbiter: Any
    loads: list[str]


@pytest.fixture
def text(arbiter_process: Any, tmp_path: Path) -> Opened:
    """Opens the service for the length of a block; `watched` is called before each forward, with the lease's check."""

    @asynccontextmanager
    async def opened(
        watched: Callable[[Callable[[], None]], None] = lambda _: None, calls: int = 4
    ) -> AsyncIterator[Text]:
        loads: list[str] = []

        def load(installed: Any, devices: Any, check: Callable[[], None]) -> LoadedText:
            prepare_torchvision()
            import torch
            from milimo_tiny.ltx2_parts import text_encoder

            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                encoder = text_encoder().eval()
            encoder.register_forward_pre_hook(lambda *_: watched(check))
            loads.append(installed.full_name)
            return LoadedText(Models(Pipeline(encoder, build_tokenizer())))

        root = tmp_path / "models/tiny/ltx-2"
        root.mkdir(parents=True)
        manifest = {"name": "ltx-2", "family": "tiny", "purpose": "video", "checkpoint": "distilled"}
        manifest |= dict.fromkeys(("license", "note", "advice"), "")
        write_manifest(root, manifest, footprints=[ModelFootprint(name="float32", bytes=600)])
        async with arbiter_process() as arbiter:
            settings = ServiceSettings(
                home=tmp_path / "home",
                models_dir=tmp_path / "models",
                model_family="tiny",
                device="cpu",
                arbiter_address=arbiter.address,
                text_max_new_tokens=16,
            )
            async with (
                closing_calls(Calls(calls=calls, what="texts")) as threads,
                open_model_process(service="video", model="ltx-2", settings=settings, load=load) as process,  # type: ignore[type-var]
            ):
                yield Text(TextGenerationService(process, threads), process, arbiter, loads)

    return opened


def asked(**fields: Any) -> text_pb2.GenerateTextRequest:
    schema = fields.pop("schema", None)
    request = text_pb2.GenerateTextRequest(**{"messages": CHAT, "seed": 1, **fields})
    if schema is not None:
        request.json_schema.update(schema)
    return request


def picture(size: tuple[int, int] = (40, 30)) -> common_pb2.ImageSource:
    data = io.BytesIO()
    Image.linear_gradient("L").resize(size).save(data, "PNG")
    return common_pb2.ImageSource(content=data.getvalue())


async def test_answers(text: Opened) -> None:
    async with text() as opened:
        answer = opened.service.GenerateText
        plain = [await answer(asked(), None) for _ in range(2)]
        assert plain[0] == plain[1]
        assert 0 < plain[0].new_tokens <= 16
        seen = await answer(asked(image=picture((3000, 20))), None)
        assert seen.prompt_tokens > plain[0].prompt_tokens + 4
        fitting = await answer(asked(schema=SCHEMA, max_new_tokens=40), None)
        assert set(json.loads(fitting.text)) == {"title", "n"}
        # Random seeds differ; those that are given do not.
        drawn = {(await answer(text_pb2.GenerateTextRequest(messages=CHAT), None)).text for _ in range(3)}
        assert len(drawn) > 1
        status = await opened.arbiter.status()
        assert [lease.tenant for lease in status.leases] == ["video"]
        assert len(opened.loads) == 1


async def test_what_is_wrong_is_told_without_asking_for_memory(text: Opened) -> None:
    system, user = CHAT
    assistant = text_pb2.ChatMessage(role=text_pb2.CHAT_ROLE_ASSISTANT, text="Yes.")
    async with text() as opened:
        for request, where in (
            (asked(schema={"type": "array", "uniqueItems": True}), "json_schema"),
            (asked(messages=[system]), "messages"),
            (asked(messages=[user, assistant]), "messages"),
            (asked(messages=[system, assistant, user]), "messages[1].role"),
            (asked(messages=[user, user]), "messages[1].role"),
            (asked(messages=[user, system, user]), "messages[1].role"),
            (asked(image=common_pb2.ImageSource(content=b"no image")), "image.content"),
            (asked(image=common_pb2.ImageSource(asset_id="none")), "image.asset_id"),
        ):
            with pytest.raises((InvalidArgument, NotFound)) as caught:
                await opened.service.GenerateText(request, None)
            assert caught.value.violations[0].field == where
        assert not (await opened.arbiter.status()).leases
        assert not opened.loads


async def test_who_goes_away_frees_the_turn(text: Opened) -> None:
    """Both at work and waiting; and one more than there are threads is refused."""
    reached, go = threading.Event(), threading.Event()
    forwards: list[int] = []

    def watched(_: Callable[[], None]) -> None:
        forwards.append(1)
        if len(forwards) == 3:
            reached.set()
            assert go.wait(PATIENCE_S)

    async with text(watched, calls=2) as opened:
        request = asked(schema={"type": "array", "items": {}, "minItems": 500}, max_new_tokens=4000)
        first = asyncio.create_task(opened.service.GenerateText(request, None))
        assert await asyncio.to_thread(reached.wait, PATIENCE_S)
        residency = await asyncio.to_thread(opened.process.model.residency)
        second = asyncio.create_task(opened.service.GenerateText(asked(), None))
        async with asyncio.timeout(PATIENCE_S):
            while residency.waiting_jobs != 1:
                await asyncio.to_thread(threading.Event().wait, 0.01)
        with pytest.raises(ResourceExhausted):
            await opened.service.GenerateText(asked(), None)
        for call in (second, first):
            call.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        go.set()
        await opened.arbiter.until(lambda status: status.leases[0].state == pb.LEASE_STATE_IDLE)
        # No token was made after the caller had gone, and the turn is free for the next one.
        assert len(forwards) == 3
        assert (await opened.service.GenerateText(asked(), None)).new_tokens > 0


async def test_memory_that_is_taken_away_is_told(text: Opened) -> None:
    reached, lost = threading.Event(), threading.Event()

    def watched(check: Callable[[], None]) -> None:
        reached.set()
        # Goes on when the process has heard of it.
        try:
            while not lost.wait(0.01):
                check()
        except LeaseLost:
            lost.set()

    async with text(watched) as opened:
        call = asyncio.create_task(opened.service.GenerateText(asked(), None))
        assert await asyncio.to_thread(reached.wait, PATIENCE_S)
        lease_id = (await opened.arbiter.status()).leases[0].lease_id
        await opened.arbiter.stub.RevokeLease(pb.RevokeLeaseRequest(lease_id=lease_id, reason="for a test"))
        with pytest.raises(Unavailable, match="for a test") as caught:
            await call
        assert caught.value.reason == "LEASE_LOST"
        assert (await opened.service.GenerateText(asked(), None)).new_tokens > 0
        assert len(opened.loads) == 2
