"""HTTP/JSON: requests, answers, errors, events, and which pages may call."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2
from milimo_gateway.contract import read_contract
from milimo_gateway.edge import load_descriptors
from milimo_gateway.routes import public_services

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor
    from google.protobuf.message import Message


from .mesh import MIB, PATIENCE_S, Mesh, reason, status

JSON = {"content-type": "application/json"}


def test_unary_json(client: httpx.Client) -> None:
    response = client.get("/v1/jobs/7")
    assert response.status_code == 200
    job = response.json()["job"]
    assert (job["id"], job["state"], job["fraction"]) == ("7", "JOB_STATE_RUNNING", 0)
    assert "cancel_requested" in job
    assert response.headers["x-request-id"]


def test_paths_and_queries_become_fields(client: httpx.Client) -> None:
    found = client.get("/v1/projects/p%2Fq/jobs?states=JOB_STATE_QUEUED&states=JOB_STATE_FAILED").json()
    assert [(job["id"], job["state"]) for job in found["jobs"]] == [
        ("p/q", "JOB_STATE_QUEUED"),
        ("p/q", "JOB_STATE_FAILED"),
    ]
    project = client.patch("/v1/projects/p1", json={"name": "Näme", "fps": 24}).json()["project"]
    assert (project["id"], project["name"], project["fps"]) == ("p1", "Näme", 24)
    assert "seed" not in project


@pytest.mark.parametrize("path", ["/v1/jobs/missing", "/v1/jobs/missing:watch"])
def test_errors_carry_their_details(path: str, client: httpx.Client) -> None:
    response = client.get(path)
    assert response.status_code == 404
    found = status(response)
    assert (found.code, reason(found)) == (5, "NOT_FOUND")
    request = error_details_pb2.BadRequest()
    assert found.details[1].Unpack(request)
    assert request.field_violations[0].field == "job_id"


@pytest.mark.parametrize(
    ("verb", "path", "body", "text"),
    [
        ("PATCH", "/v1/jobs/7", '{"priority": "PRIORITY_SOON"}', "PRIORITY_SOON"),
        ("PATCH", "/v1/jobs/7", '{"priority": ', "end of string"),
        ("PATCH", "/v1/jobs/7", "[]", "message"),
        ("PATCH", "/v1/projects/7", '{"fps": "many"}', "fps"),
        ("GET", "/v1/jobs?states=RUNNING", None, "states"),
        ("GET", "/v1/jobs?page_size=many", None, "page_size"),
        ("GET", "/v1/jobs?colour=red", None, "colour"),
    ],
)
def test_what_is_no_request_is_refused(verb: str, path: str, body: str | None, text: str, client: httpx.Client) -> None:
    response = client.request(verb, path, content=body, headers=JSON)
    assert response.status_code == 400
    found = status(response)
    assert (found.code, reason(found)) == (3, "INVALID_REQUEST")
    assert text in found.message


@pytest.mark.parametrize(
    ("path", "body", "unknown"),
    [
        ("/v1/jobs/7", '{"priority": "PRIORITY_LOW", "bogus": 1}', "bogus"),
        ("/v1/projects/7", '{"nmae": "x"}', "project.nmae"),
        ("/v1/projects/7", '{"name": "a \\" } { \\\\", "nested": {"deep": [1, {}]}}', "project.nested"),
        ("/v1/projects/p/videos:plan", '{"prompt": "x", "widht": 64}', "video.widht"),
        (
            "/v1/projects/p/videos",
            ' { "conditions" : [ {"assetId": "1", "frame_index": -1} ,\n {"asset_id": "2", "strenght": 1e-1} ] } ',
            "video.conditions[1].strenght",
        ),
        ("/v1/segmentation:predict", '{"image": {"asset_id": "1"}, "points": [{"x": 1, "z": 2}]}', "points[0].z"),
    ],
)
def test_unknown_fields_are_refused(path: str, body: str, unknown: str, client: httpx.Client) -> None:
    verb = "POST" if ":" in path or path.endswith("videos") else "PATCH"
    response = client.request(verb, path, content=body, headers=JSON)
    assert response.status_code == 400
    found = status(response)
    assert (found.code, reason(found)) == (3, "UNKNOWN_FIELD")
    assert found.message.startswith(f"{unknown}: ")
    request = error_details_pb2.BadRequest()
    assert found.details[1].Unpack(request)
    assert [violation.field for violation in request.field_violations] == [unknown]


def filled(message: Message, depth: int = 4) -> Message:
    """The message with a value in every field, of each oneof in the last one."""
    for each in message.DESCRIPTOR.fields:
        full_name = each.message_type.full_name if each.message_type else ""
        if full_name.startswith("google.") or (each.message_type and depth == 0):
            continue
        if each.message_type:
            inner = getattr(message, each.name)
            filled(inner.add() if each.is_repeated else inner, depth - 1)
            if not each.is_repeated:
                inner.SetInParent()
            continue
        value: Any = {
            each.CPPTYPE_STRING: b"x" if each.type == each.TYPE_BYTES else "x",
            each.CPPTYPE_BOOL: True,
        }.get(each.cpp_type, 1)
        if each.is_repeated:
            getattr(message, each.name).append(value)
        else:
            setattr(message, each.name, value)
    return message


@pytest.mark.parametrize("snake_case", [True, False])
def test_all_fields_of_the_contract_are_known(snake_case: bool, client: httpx.Client) -> None:
    load_descriptors(read_contract())
    pool, seen = descriptor_pool.Default(), 0
    for service in pool_services(pool):
        for method in service.methods:
            rule = method.GetOptions().Extensions[annotations_pb2.http]
            if not rule.body or method.client_streaming or method.input_type.name == "CompatRequest":
                continue
            verb = rule.WhichOneof("pattern")
            body = message_factory.GetMessageClass(method.input_type)()
            if rule.body != "*":
                body = getattr(body, rule.body)
            # "x" is what the path's variables are too: a path and a body may not disagree.
            text = json_format.MessageToJson(filled(body), preserving_proto_field_name=snake_case)
            path = re.sub(r"\{[^}]*\}", "x", getattr(rule, verb))
            response = client.request(verb.upper(), path, content=text, headers=JSON)
            seen += 1
            if response.status_code != 200:
                found = status(response)
                why = reason(found) if found.details else ""
                assert why not in ("UNKNOWN_FIELD", "INVALID_REQUEST", "NOTHING_HERE"), response.text
    assert seen > 35


def pool_services(pool: descriptor_pool.DescriptorPool) -> list[ServiceDescriptor]:
    return [pool.FindServiceByName(service.name) for service in public_services(read_contract())]


def test_rules_of_the_contract_hold_over_json(client: httpx.Client) -> None:
    response = client.get("/v1/jobs?page_size=5000")
    assert response.status_code == 400
    found = status(response)
    assert (found.code, reason(found)) == (3, "INVALID_FIELD")


@pytest.mark.parametrize(
    ("verb", "path", "http", "code", "why"),
    [
        ("GET", "/nothing", 404, 5, "NOTHING_HERE"),
        ("PUT", "/v1/jobs/7", 404, 5, "NOTHING_HERE"),
        ("POST", "/milimo.v1.WorkerService/NotifyJob", 415, 3, "UNSUPPORTED_MEDIA_TYPE"),
        ("POST", "/milimo.v1.JobService/GetJob", 415, 3, "UNSUPPORTED_MEDIA_TYPE"),
        ("POST", "/milimo.v1.MemoryArbiter/Lease", 415, 3, "UNSUPPORTED_MEDIA_TYPE"),
        ("GET", "/milimo.v1.MemoryArbiter/Lease", 415, 3, "UNSUPPORTED_MEDIA_TYPE"),
        ("POST", "/v1/gpu:reclaim", 503, 14, "UNAVAILABLE"),
        ("GET", "/v1/gpu/status:watch", 503, 14, "UNAVAILABLE"),
        ("GET", "/health", 501, 12, "NOT_IMPLEMENTED"),
        ("POST", "/media/projects/p1/generated/film.mp4", 405, 12, "NO_SUCH_METHOD"),
    ],
)
def test_answers_of_the_gateway_itself(
    verb: str, path: str, http: int, code: int, why: str, client: httpx.Client
) -> None:
    response = client.request(verb, path, json={} if verb == "POST" else None)
    assert response.status_code == http
    found = status(response)
    assert (found.code, reason(found)) == (code, why)
    assert found.message


def test_a_json_body_that_is_too_large(client: httpx.Client) -> None:
    # In pieces, so that no Content-Length announces its size.
    pieces = (b'{"script_content": "' if number == 0 else b"x" * MIB for number in range(10))
    response = client.patch("/v1/projects/p1", content=pieces, headers=JSON)
    assert response.status_code == 413
    assert (status(response).code, reason(status(response))) == (3, "BODY_TOO_LARGE")


def test_reads_are_tried_again_and_writes_are_not(gateway: Mesh, client: httpx.Client) -> None:
    assert client.get("/v1/jobs/flaky").status_code == 200
    assert gateway.traffic.calls["get flaky"] == 3
    response = client.post("/v1/jobs/flaky:cancel", json={})
    assert response.status_code == 503
    assert status(response).code == 14
    assert gateway.traffic.calls["cancel flaky"] == 1


def test_health(client: httpx.Client) -> None:
    assert client.get("/healthz").status_code == 200


def test_streams_are_events(client: httpx.Client) -> None:
    with client.stream("GET", "/v1/jobs/7:watch?after_sequence=1") as response:
        assert response.headers["content-type"] == "text/event-stream"
        lines = [line for line in response.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert [json.loads(line.removeprefix("data: "))["sequence"] for line in lines] == ["2", "3"]


def test_a_dropped_stream_ends_the_call(gateway: Mesh, client: httpx.Client) -> None:
    gateway.traffic.cancelled.clear()
    with client.stream("GET", "/v1/jobs/endless:watch") as response:
        assert next(response.iter_lines()).startswith("data: ")
    assert gateway.traffic.cancelled.wait(PATIENCE_S)


def test_a_stream_of_bytes_is_a_body(client: httpx.Client) -> None:
    response = client.get("/v1/assets/a/content")
    assert (response.headers["content-type"], response.content) == ("image/png", b"firstsecond")


@pytest.mark.parametrize("path", ["/v1/jobs", "/milimo.v1.JobService/GetJob", "/v1/projects/p/assets"])
def test_pages_of_this_machine_may_call(path: str, client: httpx.Client) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-grpc-web"}
    allowed = client.options(path, headers={"origin": "http://localhost:5173", **asks})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "http://localhost:5173"
    assert "x-grpc-web" in allowed.headers["access-control-allow-headers"]
    refused = client.options(path, headers={"origin": "https://evil.example", **asks})
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize("path", ["/v1/jobs/7", "/v1/jobs/missing", "/nothing", "/v1/gpu/status"])
def test_pages_of_this_machine_may_read_the_answer(path: str, client: httpx.Client) -> None:
    response = client.get(path, headers={"origin": "http://127.0.0.1:3000"})
    assert response.headers["access-control-allow-origin"] == "http://127.0.0.1:3000"
    assert "grpc-status" in response.headers["access-control-expose-headers"]
