"""Programs that are no tenants and give memory back when they are asked: Ollama, by its HTTP API."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import httpx

from milimo_arbiter.devices import MemoryMisconfigured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from milimo_arbiter.settings import ArbiterSettings

log = logging.getLogger(__name__)

# How long an answer may take, in seconds: it answers from memory, also while it computes.
_PATIENCE_S: Final = 3.0
# An unload waits until the model has finished what it computes.
_UNLOAD_PATIENCE_S: Final = 120.0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a program holds: bytes, None when that was never known; whether it worked since the last look."""

    bytes: int | None
    busy: bool = False
    problem: str = ""


class Program(Protocol):
    """A program that holds memory of a device, and can be asked for it."""

    name: str
    device: str

    async def look(self) -> Seen:
        """What it holds now, or what it held when it last said so."""

    async def evict(self) -> None:
        """Asks it to give everything back, when it has finished what it does."""

    async def close(self) -> None:
        """Ends the connection."""


class _Nonsense(ValueError):
    """An answer that is not Ollama's."""


class Ollama:
    """Ollama on this host. What it holds is asked of `/api/ps`; `keep_alive: 0` makes it give a model's memory back.

    Nobody who listens holds nothing. An answer that is late, an error or nonsense changes nothing about what is known;
    where nothing was known, `assumed` is, and one whose `/api/tags` lists no model holds nothing. What a model would
    take that is not loaded, `/api/show` does not say.
    """

    name = "ollama"

    def __init__(self, url: str, device: str, *, assumed: int | None, client: httpx.AsyncClient | None = None) -> None:
        self.device = device
        self._client = httpx.AsyncClient(base_url=url, timeout=_PATIENCE_S) if client is None else client
        self._assumed = assumed
        self._known: int | None = None
        # What `/api/ps` said last of when each model would be unloaded: every use moves it.
        self._expiry: Mapping[str, object] = {}

    async def look(self) -> Seen:
        """What its models hold on the device."""
        try:
            models = await self._models()
            held = sum(self._bytes(model) for model in models)
        except httpx.ConnectError:
            self._known, self._expiry = 0, {}
            return Seen(bytes=0)
        except (httpx.HTTPError, _Nonsense) as error:
            problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            held_before = self._assumed if self._known is None else self._known
            if held_before is None and await self._has_no_models():
                held_before = 0
            return Seen(bytes=held_before, problem=problem)
        expiry = {str(model["name"]): model.get("expires_at") for model in models}
        busy = any(self._expiry.get(name) != until for name, until in expiry.items())
        self._known, self._expiry = held, expiry
        return Seen(bytes=held, busy=busy)

    async def _models(self) -> list[dict[str, Any]]:
        """The models that are loaded."""
        return await self._listed("/api/ps")

    async def _has_no_models(self) -> bool:
        """Whether there is nothing that it could have loaded, as far as it says."""
        try:
            return not await self._listed("/api/tags")
        except (httpx.HTTPError, _Nonsense):
            return False

    async def _listed(self, path: str) -> list[dict[str, Any]]:
        answer = await self._client.get(path)
        answer.raise_for_status()
        try:
            models = answer.json()["models"]
        except (ValueError, KeyError, TypeError) as error:
            raise _Nonsense(f"{path} does not answer as Ollama does") from error
        if not isinstance(models, list) or not all(isinstance(one, dict) and "name" in one for one in models):
            raise _Nonsense(f"{path} does not answer as Ollama does")
        return models

    def _bytes(self, model: Mapping[str, Any]) -> int:
        size, on_accelerator = model.get("size"), model.get("size_vram")
        if not isinstance(size, int) or not isinstance(on_accelerator, int) or not 0 <= on_accelerator <= size:
            # Unknown is neither zero nor everything.
            raise _Nonsense(f"/api/ps does not say how much {model['name']} holds")
        return size - on_accelerator if self.device.startswith("cpu") else on_accelerator

    async def evict(self) -> None:
        """Has every model unloaded."""
        try:
            names = [str(model["name"]) for model in await self._models()]
            unloads = (
                self._client.post(
                    "/api/generate", json={"model": name, "keep_alive": 0, "stream": False}, timeout=_UNLOAD_PATIENCE_S
                )
                for name in names
            )
            for answer in await asyncio.gather(*unloads):
                # One that is not there any more holds nothing.
                if answer.status_code != httpx.codes.NOT_FOUND:
                    answer.raise_for_status()
        except (httpx.HTTPError, _Nonsense) as error:
            log.warning("ollama did not unload: %r", error, extra={"action": "evict_failed"})

    async def close(self) -> None:
        """Ends the connection."""
        await self._client.aclose()


def find_programs(settings: ArbiterSettings, devices: Iterable[str]) -> tuple[Program, ...]:
    """The programs to look at.

    Raises:
        MemoryMisconfigured: when it is not said on which of several devices Ollama runs, or that device is not lent.
    """
    if settings.arbiter_ollama_url is None:
        return ()
    known = sorted(devices)
    device = settings.arbiter_ollama_device or (known[0] if len(known) == 1 else None)
    if device is None or device not in known:
        raise MemoryMisconfigured(
            f"on which of {', '.join(known)} does Ollama run? MILIMO_ARBITER_OLLAMA_DEVICE says {device or 'nothing'}"
        )
    return (Ollama(settings.arbiter_ollama_url, device, assumed=settings.arbiter_ollama_bytes),)
