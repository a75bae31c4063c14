"""An HTTP server that behaves as Ollama does, as far as its memory goes; and badly when it is told to."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class OllamaServer:
    """Its models are `loaded`, with their bytes. `status` and `body` replace answers, `stalls` holds them back."""

    def __init__(self) -> None:
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
        if path == "/api/generate":
            if body["model"] not in self.loaded:
                return 404, json.dumps({"error": f"model '{body['model']}' not found"})
            if body.get("keep_alive") == 0 and not body.get("prompt"):
                await self.finished.wait()
                del self.loaded[body["model"]]
                return 200, json.dumps({"model": body["model"], "done": True, "done_reason": "unload"})
        return 404, "{}"


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
