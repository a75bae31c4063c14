"""One trace from a page's request through Envoy and the service to the encoded picture, with real, tiny weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
from milimo import Milimo
from milimo.v1 import projects_pb2
from milimo_deploy.mesh import free_addresses, plan_mesh
from milimo_deploy.running import running_mesh

from .collector import PROMPTLY, Collector, running_collector

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PAGE = "00f067aa0ba902b7"
PROMPT = "a heron that nobody else shall hear of"
STEPS = 3
KEY = "a-key-for-nobody-else"


def addresses(collector: Collector) -> list[str]:
    """Where the calls went that were answered with errors, as Envoy tells."""
    urls = (span.attributes["http.url"] for span in collector.named("ingress"))
    return [url for url in urls if url.startswith("/v1/jobs")]


def test_one_trace_through_the_whole_mesh(tmp_path: Path) -> None:
    given = os.environ.get("MILIMO_MODELS_DIR")
    models = Path(given) if given else tmp_path / "models"
    subprocess.run([sys.executable, "-m", "milimo_tiny", "--out", str(models)], check=True, stdout=subprocess.DEVNULL)
    with running_collector() as collector:
        environment = {
            "MILIMO_MODELS_DIR": str(models),
            "MILIMO_MODEL_FAMILY": "tiny",
            "MILIMO_OTLP_ENDPOINT": collector.endpoint,
            "OMP_NUM_THREADS": "1",
            **PROMPTLY,
        }
        with running_mesh(plan_mesh(tmp_path / "mesh", free_addresses(), environment=environment)) as running:
            with Milimo(running.address) as client:
                request = projects_pb2.CreateProjectRequest(project=projects_pb2.Project(name="test"))
                project = client.projects.CreateProject(request).project
                answer = httpx.post(
                    f"http://{running.address}/v1/projects/{project.id}/images",
                    json={"prompt": PROMPT, "width": 64, "height": 64, "steps": STEPS},
                    headers={"traceparent": f"00-{TRACE}-{PAGE}-01"},
                    timeout=30,
                )
                assert answer.status_code == 200, answer.text
                client.watch(answer.json()["job"]["id"]).result()
                # Where a browser has to put its key.
                httpx.get(f"http://{running.address}/v1/jobs?key={KEY}", timeout=30)
                httpx.get(f"http://{running.address}/v1/jobs/nowhere?key={KEY}", timeout=30)
            collector.until(lambda: collector.named("job image") and len(addresses(collector)) == 2)
    mine = [span for span in collector.spans if span.trace_id == TRACE]
    [envoy] = [span for span in mine if span.process == "milimo-gateway"]
    [submit] = collector.named("milimo.v1.ImageService/SubmitImage")
    [job] = collector.named("job image")
    assert (envoy.parent_id, submit.parent_id, job.parent_id) == (PAGE, envoy.span_id, submit.span_id)
    work = sorted((span for span in mine if span.parent_id == job.span_id), key=lambda span: (span.start, span.end))
    names = ["lease wait", "load", "stage encode_prompt", "stage denoise", "stage decode", "encode", "store"]
    assert [span.name for span in work] == names
    assert len(collector.named("step")) == 1 + STEPS + 1
    assert {span.parent_id for span in collector.named("step")} == {span.span_id for span in work[2:5]}
    assert len(mine) == 3 + len(work) + STEPS + 2
    assert work[-1].attributes["milimo.media_type"] == "image/jpeg"
    sent = b"".join(collector.raw)
    assert PROMPT.encode() not in sent
    assert KEY.encode() not in sent
