"""Envoy's admin interface, as far as the launcher needs it."""

from __future__ import annotations

import asyncio
import http.client
import json
from dataclasses import dataclass

from milimo_gateway.settings import Endpoint

_TIMEOUT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Admin:
    """Talks to the admin interface at one address. Every call raises OSError when nobody answers."""

    address: Endpoint

    def _request(self, verb: str, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self.address, timeout=_TIMEOUT_S)
        try:
            connection.request(verb, path)
            response = connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException as error:
            raise OSError(f"Envoy's admin interface broke off: {error!r}") from error
        finally:
            connection.close()

    async def ready(self) -> bool:
        """Whether Envoy takes requests."""
        status, _ = await asyncio.to_thread(self._request, "GET", "/ready")
        return status == 200

    async def listening(self, name: str) -> Endpoint:
        """The address on which a listener really listens.

        Raises:
            OSError: when there is no such listener.
        """
        _, body = await asyncio.to_thread(self._request, "GET", "/listeners?format=json")
        for listener in json.loads(body).get("listener_statuses", ()):
            if listener["name"] == name:
                address = listener["local_address"]["socket_address"]
                return address["address"], address["port_value"]
        raise OSError(f"Envoy has no listener {name!r}")

    async def reopen_logs(self) -> None:
        """Has Envoy open its access logs by their names again."""
        status, body = await asyncio.to_thread(self._request, "POST", "/reopen_logs")
        if status != 200:
            raise OSError(f"Envoy does not open its logs again: {body.decode(errors='replace').strip()}")

    async def begin_drain(self) -> None:
        """Fails health checks and takes no more connections; requests that run go on."""
        for path in ("/healthcheck/fail", "/drain_listeners"):
            await asyncio.to_thread(self._request, "POST", path)

    async def active_requests(self, listener: str) -> int:
        """How many requests run."""
        name = f"http.{listener}.downstream_rq_active"
        _, body = await asyncio.to_thread(self._request, "GET", f"/stats?filter=^{name}$&format=json")
        return sum(int(stat["value"]) for stat in json.loads(body)["stats"] if stat.get("name") == name)
