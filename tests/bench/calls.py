"""One unary call through Envoy: the storyboard's, beside a bare grpcio asyncio server behind an Envoy of its own."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final

from rows import Beside, Row, measured, percentile
from session import Child, Session

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES: Final = ("rpc_p50_ms", "rpc_rps_64")
_SECONDS: Final = 2.0
_BARE: Final = "GetProject of a bare grpcio asyncio server behind an Envoy of the same configuration"


def measure(session: Session) -> Mapping[str, Row]:
    """In turns, from one client process: one call at a time, then 64."""
    alone: dict[str, list[float]] = {"mesh": [], "bare": []}
    rates: dict[str, list[float]] = {"mesh": [], "bare": []}
    project_id = session.project_id
    plan = session.plan(only=("gateway",))
    storyboard = plan.environment["MILIMO_STORYBOARD_ADDRESS"]
    with Child("child_bare_server.py", storyboard, environment={}) as server:
        server.hear()
        with session.running(plan) as (bare, _), Child("child_calls.py", environment={}) as client:
            addresses = {"mesh": session.mesh.address, "bare": bare.address}
            for address in addresses.values():
                client.ask({"address": address, "project_id": project_id, "calls_at_a_time": 8, "seconds": 1.0})
            for _ in range(session.runs):
                for name, address in addresses.items():
                    request: dict[str, Any] = {"address": address, "project_id": project_id, "seconds": _SECONDS}
                    milliseconds: list[float] = client.ask({**request, "calls_at_a_time": 1})["milliseconds"]
                    alone[name].append(percentile(milliseconds, 0.5))
                    rates[name].append(len(client.ask({**request, "calls_at_a_time": 64})["milliseconds"]) / _SECONDS)
    return {
        "rpc_p50_ms": measured("rpc_p50_ms", alone["mesh"], beside=Beside(what=_BARE, value=median(alone["bare"]))),
        "rpc_rps_64": measured("rpc_rps_64", rates["mesh"], beside=Beside(what=_BARE, value=median(rates["bare"]))),
    }
