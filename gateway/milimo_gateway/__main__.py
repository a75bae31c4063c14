"""`python -m milimo_gateway envoy` runs Envoy, `python -m milimo_gateway edge` the process beside it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from milimo_runtime.logs import configure_logs
from pydantic import ValidationError

from milimo_gateway.settings import GatewaySettings

log = logging.getLogger(__name__)


def _explain(error: ValidationError) -> str:
    """What is wrong with the settings, one line each."""
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        text = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {text}" if where else text)
    return "\n".join(lines)


def main() -> int:
    """Runs one of the two processes; the exit status is 2 for wrong settings and 1 for what failed later."""
    parser = argparse.ArgumentParser(prog="milimo_gateway", description=__doc__)
    parser.add_argument("process", choices=("envoy", "edge"))
    arguments = parser.parse_args()
    try:
        settings = GatewaySettings()
    except ValidationError as error:
        sys.stderr.write(f"{_explain(error)}\n")
        return 2
    configure_logs(arguments.process, form=settings.log_format, level=settings.log_level)
    # Each process imports only what it runs: the launcher needs no gRPC server.
    if arguments.process == "edge":
        from milimo_gateway.edge import run_edge

        try:
            asyncio.run(run_edge(settings))
        except OSError as error:
            log.error("cannot serve", extra={"action": "failed", "error": str(error)})
            return 1
        return 0
    from milimo_gateway.launcher import EnvoyError, run_envoy

    try:
        asyncio.run(run_envoy(settings))
    except (EnvoyError, OSError) as error:
        log.error("cannot serve", extra={"action": "failed", "error": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
