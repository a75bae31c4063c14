"""How Envoy, its launcher and the edge start, refuse to start, and end."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from google.rpc import error_details_pb2
from milimo_gateway.launcher import EnvoyError, validate, write_config
from milimo_gateway.settings import GatewaySettings

if TYPE_CHECKING:
    pass


from .mesh import PATIENCE_S, environment, gateway_process, mesh, reason, status


def test_too_many_requests_at_once(tmp_path: Path) -> None:
    variables = environment(tmp_path, 1, 1, 1) | {"MILIMO_GATEWAY_REQUESTS_PER_SECOND": "1"}
    with gateway_process("envoy", variables) as envoy, httpx.Client(timeout=PATIENCE_S) as client:
        # Two in a burst, then one each tenth of a second.
        answers = [client.get(f"http://{envoy.facts['listen']}/nothing") for _ in range(20)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert len(refused) < len(answers)
    found = status(refused[0])
    assert (found.code, reason(found)) == (8, "RATE_LIMITED")
    retry = error_details_pb2.RetryInfo()
    assert found.details[1].Unpack(retry)
    assert retry.retry_delay.seconds == 1


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:4317", "https://collector.example"])
async def test_envoy_accepts_a_configuration_with_traces(endpoint: str, tmp_path: Path) -> None:
    await validate(write_config(GatewaySettings(home=tmp_path, otlp_endpoint=endpoint)))


async def test_what_envoy_refuses_is_said(tmp_path: Path) -> None:
    path = write_config(GatewaySettings(home=tmp_path))
    path.write_text(path.read_text().replace("name: storyboard\n", "name: arbiter\n", 1))
    with pytest.raises(EnvoyError, match="arbiter"):
        await validate(path)


def test_the_access_log_is_bounded(tmp_path: Path) -> None:
    with (
        mesh(tmp_path, {"MILIMO_GATEWAY_ACCESS_LOG_BYTES": "20000"}) as (running, launcher),
        running.client() as client,
    ):
        log = tmp_path / "logs/access.log"
        # Envoy writes when it has 64 KiB; a line is longer than 300 bytes.
        for number in range(300):
            assert client.get(f"/v1/jobs/{number}").status_code == 200
        assert launcher.read_until("rotated")["path"] == str(log)
        old = log.with_name("access.log.1")
        first = old.read_text().splitlines()
        assert json.loads(first[0])["path"] == "/v1/jobs/0"
        assert client.get("/v1/jobs/last").status_code == 200
    # Nothing is lost between the two.
    paths = [json.loads(line)["path"] for line in (*first, *log.read_text().splitlines())]
    assert paths == [*(f"/v1/jobs/{number}" for number in range(300)), "/v1/jobs/last"]


def ended(pidfd: int) -> bool:
    """Waits for the end of a process that is no child of ours."""
    return bool(select.select([pidfd], [], [], PATIENCE_S)[0])


def test_sigterm_lets_requests_end(tmp_path: Path) -> None:
    with mesh(tmp_path) as (running, launcher):
        pidfd = os.pidfd_open(running.envoy_pid)
        answers: list[httpx.Response] = []

        def call() -> None:
            with running.client() as client:
                answers.append(client.get("/v1/jobs/slow?key=top-secret"))

        caller = threading.Thread(target=call)
        caller.start()
        try:
            assert running.traffic.entered.wait(PATIENCE_S)
            launcher.process.send_signal(signal.SIGTERM)
            launcher.read_until("draining")
        finally:
            running.traffic.release.set()
            caller.join(PATIENCE_S)
        assert [answer.status_code for answer in answers] == [200]
        assert launcher.process.wait(PATIENCE_S) == 0
        assert ended(pidfd)
        os.close(pidfd)
        records = [json.loads(line) for line in (tmp_path / "logs/access.log").read_text().splitlines()]
        (record,) = [each for each in records if each["path"] == "/v1/jobs/slow"]
        assert record["rpc"] == "/milimo.v1.JobService/GetJob"
        assert record["status"] == 200
        assert "top-secret" not in json.dumps(records)
        assert not (tmp_path / "run/gateway/gateway.json").exists()


def test_envoy_dies_with_its_launcher(tmp_path: Path) -> None:
    with mesh(tmp_path) as (running, launcher):
        pidfd = os.pidfd_open(running.envoy_pid)
        launcher.process.kill()
        assert ended(pidfd)
        os.close(pidfd)


def test_the_end_of_envoy_is_the_end_of_its_launcher(tmp_path: Path) -> None:
    with mesh(tmp_path) as (running, launcher):
        os.kill(running.envoy_pid, signal.SIGKILL)
        assert "by itself" in launcher.read_until("failed")["error"]
        assert launcher.process.wait(PATIENCE_S) == 1


def test_an_address_in_use_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        variables = environment(tmp_path, 1, 1, 1) | {"MILIMO_GATEWAY_LISTEN": address}
        with pytest.raises(AssertionError, match="status 1"), gateway_process("envoy", variables):
            raise AssertionError("it served on a port that is taken")


def test_an_address_of_the_network_is_refused() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "milimo_gateway", "envoy"],
        env=os.environ | {"MILIMO_GATEWAY_LISTEN": "0.0.0.0:8080"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert result.returncode == 2
    assert "gateway_listen: 0.0.0.0:8080 can be reached from other machines" in result.stderr
