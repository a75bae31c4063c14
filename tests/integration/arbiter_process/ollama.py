"""An HTTP server that behaves as Ollama does, as far as its memory goes; and badly when it is told to."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class OllamaServer:
    """Models are `installed` and `loaded`, with their bytes.

    `status` and `body` replace what `/api/ps` answers; `stalls` holds all answers back.
    """

    def __init__(self) -> None:
        self.installed: dict[str, int] = {}
        self.loaded: dict[str, int] = {}
        self.status = 200
        self.body: str | None = None
        self.stalls = asyncio.Event()
        self.stalls.set()
        # Until then a model works, and is unloaded only afterwards.
        self.finished = asyncio.Event()
        self.finished.set()
        self.requests: list[str] = []
        self.uses = 0
        self.url = ""

    def ps(self) -> dict[str, Any]:
        """What `/api/ps` answers."""
        return {
            "models": [
                {
                    "name": name,
                    "model": name,
                    "size": size,
                    "size_vram": 0,
                    "expires_at": f"2026-01-01T00:00:{self.uses:02}Z",
                }
                for name, size in self.loaded.items()
            ]
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request; then the connection ends."""
        try:
            method, path, _ = (await reader.readline()).decode().split()
            length = 0
            while (line := (await reader.readline()).decode().strip()) != "":
                if line.lower().startswith("content-length:"):
                    length = int(line.split(":")[1])
            body = json.loads(await reader.readexactly(length)) if length else {}
            self.requests.append(f"{method} {path}")
            await self.stalls.wait()
            status, answer = await self._answer(path, body)
            writer.write(
                f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(answer)}\r\n"
                f"connection: close\r\n\r\n{answer}".encode()
            )
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, body: dict[str, Any]) -> tuple[int, str]:
        if path == "/api/ps":
            return self.status, json.dumps(self.ps()) if self.body is None else self.body
        if path == "/api/tags":
            models = [{"name": name, "model": name, "size": size} for name, size in self.installed.items()]
            return 200, json.dumps({"models": models})
        if path == "/api/show":
            known = body["model"] in self.installed
            return (200, json.dumps({"details": {"format": "gguf"}, "model_info": {}})) if known else _unknown(body)
        if path == "/api/generate":
            return await self._generate(body)
        return 404, "{}"

    async def _generate(self, body: dict[str, Any]) -> tuple[int, str]:
        name = body["model"]
        answer = {"model": name, "done": True}
        if body.get("prompt"):
            if name not in self.installed:
                return _unknown(body)
            self.uses += 1
            self.loaded[name] = self.installed[name]
            return 200, json.dumps({**answer, "done_reason": "stop", "response": "Hi"})
        if name not in self.loaded:
            return _unknown(body)
        if body.get("keep_alive") == 0:
            await self.finished.wait()
            self.loaded.pop(name, None)
            answer["done_reason"] = "unload"
        return 200, json.dumps(answer)


def _unknown(body: dict[str, Any]) -> tuple[int, str]:
    return 404, json.dumps({"error": f"model '{body['model']}' not found"})


@asynccontextmanager
async def ollama_server() -> AsyncIterator[OllamaServer]:
    """Serves on a port of the loopback interface."""
    ollama = OllamaServer()
    server = await asyncio.start_server(ollama.serve, "127.0.0.1", 0)
    ollama.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield ollama
    finally:
        ollama.stalls.set()
        ollama.finished.set()
        server.close()
        await server.wait_closed()
