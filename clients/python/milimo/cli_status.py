"""`milimo status`."""

from __future__ import annotations

import typer

from milimo import cli_errors
from milimo.cli_output import as_document
from milimo.cli_session import AddressOption, JsonOption, open_session


def status(address: AddressOption = None, json: JsonOption = False) -> None:
    """Show whether the mesh is there, which of its processes answer, and what they do."""
    from milimo.probes import PROBE_SECONDS, Probe, probe_processes
    from milimo.v1.arbiter_pb2 import GetStatusRequest
    from milimo.v1.jobs_pb2 import JOB_STATE_QUEUED, JOB_STATE_RUNNING, JOB_STATE_WAITING_FOR_LEASE, ListJobsRequest

    with open_session(address, json) as session:
        if not cli_errors.is_listening(session.address):
            # Raises what the gateway's absence raises, with its advice.
            session.client.gpu.GetStatus(GetStatusRequest(), timeout=PROBE_SECONDS)
        # It takes connections, and the other answers come through it.
        probes = [Probe(process="gateway", answers=True, text="answers"), *probe_processes(session.client)]
        alive = {probe.process for probe in probes if probe.answers}
        document: dict[str, object] = {
            "address": session.address,
            "processes": {probe.process: {"answers": probe.answers, "text": probe.text} for probe in probes},
        }
        session.output.text(f"gateway at {session.address}")
        session.output.table(("process", "state"), [(probe.process, probe.text) for probe in probes])
        if "storyboard" in alive:
            states = [JOB_STATE_QUEUED, JOB_STATE_WAITING_FOR_LEASE, JOB_STATE_RUNNING]
            jobs = session.client.jobs.ListJobs(ListJobsRequest(states=states, page_size=1000)).jobs
            document["jobs"] = [as_document(job) for job in jobs]
            running = sum(job.state == JOB_STATE_RUNNING for job in jobs)
            session.output.text(f"jobs: {running} running, {len(jobs) - running} waiting")
        if "arbiter" in alive:
            document["gpu"] = as_document(session.client.gpu.GetStatus(GetStatusRequest()).status)
        session.output.document(document)
        if len(alive) < len(probes):
            raise typer.Exit(cli_errors.UNAVAILABLE)
