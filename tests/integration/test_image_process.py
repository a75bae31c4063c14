"""The image process by itself: the base checkpoint, its own size, enriched prompts, a damaged adapter."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
from milimo.v1 import image_pb2, image_pb2_grpc, jobs_pb2
from milimo_runtime.channels import open_channel
from milimo_runtime.registry import ModelFootprint, write_manifest
from milimo_tiny.flux2 import write_flux2_base

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

BASE = "flux-2-base"


class Ollama(BaseHTTPRequestHandler):
    """Answers each chat with what stands in `answers`, the last one first; then with errors."""

    answers: list[str]
    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append({"path": self.path, **body})
        text = self.answers.pop() if self.path == "/api/chat" and self.answers else None
        self.send_response(200 if text is not None or self.path != "/api/chat" else 500)
        self.end_headers()
        self.wfile.write(json.dumps({"message": {"content": text}}).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def ollama(*answers: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    handler = type("Told", (Ollama,), {"answers": list(reversed(answers)), "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", handler.asked  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_base_checkpoint_enriched_prompts_and_a_damaged_adapter(
    tmp_path: Path,
    database_url: str,
    project: str,
    arbiter_process: Callable[[], AbstractAsyncContextManager[Any]],
    service_process: Callable[..., AbstractAsyncContextManager[Any]],
    free_address: Callable[[], str],
) -> None:
    root = tmp_path / "models/test" / BASE
    root.parent.mkdir(parents=True)
    write_flux2_base(root)
    adapter = root / "ip-adapter.safetensors"
    sound = adapter.read_bytes()
    adapter.unlink()
    manifest: dict[str, Any] = dict.fromkeys(("license", "note", "advice"), "")
    manifest |= {"name": BASE, "family": "test", "purpose": "image", "checkpoint": "base", "width": 96, "height": 80}
    # The arbiter of these tests lends 1,000 bytes.
    write_manifest(root, manifest, footprints=[ModelFootprint(name="float32", bytes=600)])
    address = free_address()
    async with arbiter_process() as arbiter:
        with ollama("a vivid boat") as (url, asked):
            environment = {
                "MILIMO_HOME": tmp_path / "home",
                "MILIMO_DATABASE_URL": database_url,
                "MILIMO_MODELS_DIR": tmp_path / "models",
                "MILIMO_MODEL_FAMILY": "test",
                "MILIMO_IMAGE_MODEL": BASE,
                "MILIMO_DEVICE": "cpu",
                "MILIMO_ARBITER_ADDRESS": arbiter.address,
                "MILIMO_IMAGE_ADDRESS": address,
                "MILIMO_PROMPT_PROVIDER": "ollama",
                "MILIMO_PROMPT_OLLAMA_URL": url,
            }
            async with service_process("-m", "milimo_image", environment=environment), open_channel(address) as channel:
                stub = image_pb2_grpc.ImageServiceStub(channel)

                def asking(**fields: Any) -> image_pb2.GenerateImageRequest:
                    image = image_pb2.ImageParameters(**{"prompt": "a boat", "width": 64, "height": 64, **fields})
                    return image_pb2.GenerateImageRequest(project_id=project, image=image)

                async def made(**fields: Any) -> tuple[list[jobs_pb2.JobEvent], dict[str, Any]]:
                    request = asking(**fields)
                    events = [event async for event in stub.GenerateImage(request, wait_for_ready=True, timeout=120)]
                    assert events[-1].state == jobs_pb2.JOB_STATE_SUCCEEDED, events[-1]
                    (asset,) = [
                        event.artefact_committed.asset for event in events if event.HasField("artefact_committed")
                    ]
                    return events, {"id": asset.id, **asset.parameters}

                # A provider is set: prompts are enriched unless that is declined.
                events, parameters = await made(seed=3)
                (told,) = [event.prompt_enhanced for event in events if event.HasField("prompt_enhanced")]
                assert (told.prompt, told.provider) == ("a vivid boat", "ollama")
                assert parameters["original_prompt"] == "a boat"
                # What the base checkpoint asks for by itself.
                assert (parameters["steps"], parameters["guidance"]) == (50, 4)
                assert [ask["path"] for ask in asked] == ["/api/chat", "/api/generate"]

                # It fails now: the prompt stays, and that is told.
                events, parameters = await made(steps=1)
                notices = [event.notice.code for event in events if event.HasField("notice")]
                assert notices == ["PROMPT_PROVIDER_FAILED"]
                assert "original_prompt" not in parameters
                asked.clear()
                _, reference = await made(steps=1, enhance_prompt=False)
                assert asked == []

                # Nobody says a size: the model's own.
                _, parameters = await made(steps=1, enhance_prompt=False, width=None, height=None)
                assert (parameters["width"], parameters["height"]) == (96, 80)
                asked.clear()

                # The adapter appears, cut off: said at once, to those who need it.
                adapter.write_bytes(sound[:-10])
                fields = {"steps": 1, "enhance_prompt": False, "reference_asset_ids": [reference["id"]]}
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await made(**fields, reference_mode=image_pb2.REFERENCE_MODE_IP_ADAPTER)
                assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
                assert "ip-adapter.safetensors is damaged" in str(caught.value.details())
                _, parameters = await made(**fields)
                assert parameters["reference_mode"] == "tokens"
