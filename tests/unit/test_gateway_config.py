"""Envoy's configuration: every public method is routed, nothing internal is, and nobody else can connect."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from milimo_gateway.callers import refusals
from milimo_gateway.clusters import TELEMETRY
from milimo_gateway.contract import Method, Service, image_path, read_contract
from milimo_gateway.envoy_config import NOWHERE, envoy_config
from milimo_gateway.http_filters import CONTENT_TYPES
from milimo_gateway.routes import CLUSTER_OF, INTERNAL, INTERNAL_METHODS, Patience, http_table, public_services, routes
from milimo_gateway.settings import CLUSTERS, GatewaySettings, is_loopback, split_address
from milimo_gateway.unknown_fields import lua_pattern, lua_source
from pydantic import ValidationError

SERVICES = read_contract()
ROUTES = routes(SERVICES)
DOCUMENT = Path(__file__).parents[2] / "docs/gateway.md"


def config(tmp_path: Path, **settings: Any) -> dict[str, Any]:
    return envoy_config(GatewaySettings(home=tmp_path, **settings), SERVICES, image_path())


def manager(found: dict[str, Any]) -> dict[str, Any]:
    connection: dict[str, Any] = found["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    typed: dict[str, Any] = connection["typed_config"]
    return typed


def http_filter(found: dict[str, Any], name: str) -> dict[str, Any]:
    by_name = {each["name"]: each["typed_config"] for each in manager(found)["http_filters"]}
    typed: dict[str, Any] = by_name[f"envoy.filters.http.{name}"]
    return typed


def envoy_routes(found: dict[str, Any]) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = manager(found)["route_config"]["virtual_hosts"][0]["routes"]
    return listed


def chosen(found: dict[str, Any], path: str) -> dict[str, Any]:
    """The route that Envoy takes for a gRPC request."""
    for route in envoy_routes(found):
        match = route["match"]
        if "headers" in match:
            continue
        if match.get("path") == path or ("prefix" in match and path.startswith(match["prefix"])):
            return route
    raise AssertionError(path)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.method.label)
def test_every_public_method_reaches_its_process(route: Any, tmp_path: Path) -> None:
    action = chosen(config(tmp_path), route.method.path)["route"]
    assert action["cluster"] == CLUSTER_OF[route.method.service]
    streams = route.method.server_streaming
    assert (action["timeout"] == "0s") == streams
    assert ("retry_policy" in action) == (route.patience is Patience.READ)


def test_public_methods_with_an_http_rule_are_transcoded(tmp_path: Path) -> None:
    transcoded = http_filter(config(tmp_path), "grpc_json_transcoder")["services"]
    with_rules = {method.service for service in public_services(SERVICES) for method in service.methods if method.http}
    assert with_rules <= set(transcoded)
    assert not INTERNAL & set(transcoded)


@pytest.mark.parametrize("name", sorted(INTERNAL))
def test_internal_services_have_no_route(name: str, tmp_path: Path) -> None:
    service = next(service for service in SERVICES if service.name == name)
    assert service.methods
    for method in service.methods:
        assert method.http == ()
        assert chosen(config(tmp_path), method.path)["route"]["cluster"] == NOWHERE


@pytest.mark.parametrize("path", [*sorted(INTERNAL_METHODS), "/milimo.v1.JobService/Unknown"])
def test_methods_that_are_not_public_have_no_route(path: str, tmp_path: Path) -> None:
    assert chosen(config(tmp_path), path)["route"]["cluster"] == NOWHERE


def test_internal_methods_are_those_of_the_contract() -> None:
    assert {method.path for service in SERVICES for method in service.methods} >= INTERNAL_METHODS
    public = [method.name for service in public_services(SERVICES) for method in service.methods]
    assert "Lease" not in public
    assert {"GetStatus", "WatchStatus", "ListLeases", "RevokeLease", "ReclaimMemory"} <= set(public)


def test_no_http_path_is_taken_twice() -> None:
    # A template's variables match anything but a slash, whatever their names.
    rules = [
        (rule.verb, re.sub(r"\{[^}]*\}", "{}", rule.path))
        for service in public_services(SERVICES)
        for method in service.methods
        for rule in method.http
    ]
    assert len(rules) > 80
    assert len(rules) == len(set(rules))


@pytest.mark.parametrize(
    ("name", "patience"),
    [
        ("GetJob", Patience.READ),
        ("ListAssets", Patience.READ),
        ("PlanVideo", Patience.READ),
        ("ExportTimeline", Patience.READ),
        ("CancelJob", Patience.CALL),
        ("SubmitVideo", Patience.CALL),
        ("DeleteProject", Patience.CALL),
        ("EnhancePrompt", Patience.CALL),
        ("WatchJob", Patience.STREAM),
        ("GenerateVideo", Patience.STREAM),
        ("DownloadAsset", Patience.STREAM),
        ("UploadAsset", Patience.UPLOAD),
    ],
)
def test_patience(name: str, patience: Patience) -> None:
    assert {route.patience for route in ROUTES if route.method.name == name} == {patience}


def test_what_changes_something_is_never_tried_twice() -> None:
    for route in ROUTES:
        if route.patience is Patience.READ:
            assert all(rule.verb == "GET" for rule in route.method.http) or route.method.name.startswith("Plan")


def test_a_service_that_nobody_serves_is_an_error() -> None:
    method = Method(
        service="milimo.v1.New", name="Do", client_streaming=False, server_streaming=False, http=(), raw=False
    )
    with pytest.raises(ValueError, match=r"milimo\.v1\.New"):
        routes([Service(name="milimo.v1.New", file="milimo/v1/new.proto", methods=(method,))])


def test_all_clusters_of_routes_exist(tmp_path: Path) -> None:
    found = config(tmp_path)
    clusters = {cluster["name"] for cluster in found["static_resources"]["clusters"]}
    assert clusters == set(CLUSTERS)
    wanted = {route["route"]["cluster"] for route in envoy_routes(found) if "route" in route}
    assert wanted == clusters | {NOWHERE}


def test_the_same_input_makes_the_same_configuration(tmp_path: Path) -> None:
    assert config(tmp_path) == config(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"gateway_listen": "0.0.0.0:8080"},
        {"gateway_listen": "[::]:8080"},
        {"gateway_listen": "192.168.1.7:8080"},
        {"gateway_listen": "studio.example:8080"},
        {"gateway_admin": "0.0.0.0:9901"},
    ],
)
def test_addresses_of_the_network_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="can be reached from other machines"):
        GatewaySettings(**settings)


@pytest.mark.parametrize("listen", ["127.0.0.1:8080", "[::1]:8080", "localhost:0", "127.0.0.2:80"])
def test_addresses_of_this_machine_are_taken(listen: str, tmp_path: Path) -> None:
    found = config(tmp_path, gateway_listen=listen)
    address = found["static_resources"]["listeners"][0]["address"]["socket_address"]
    assert (address["address"], address["port_value"]) == split_address(listen)


@pytest.mark.parametrize(
    "settings",
    [
        {"gateway_listen": "8080"},
        {"gateway_listen": "127.0.0.1:http"},
        {"gateway_listen": "127.0.0.1:70000"},
        {"video_address": "video"},
        {"gateway_endpoints": {"vidoe": ["127.0.0.1:1"]}},
        {"gateway_endpoints": {"video": []}},
        {"gateway_endpoints": {"video": ["127.0.0.1"]}},
        {"gateway_requests_per_second": 0},
        {"gateway_hosts": ["https://studio.example"]},
        {"gateway_hosts": ["studio.example:443"]},
        {"gateway_hosts": ["*"]},
        {"gateway_access_log_bytes": 0},
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GatewaySettings(**settings)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.8.9.1", True), ("::1", True), ("::", False), ("10.0.0.1", False), ("nas", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_many_endpoints_behind_a_cluster(tmp_path: Path) -> None:
    found = config(tmp_path, gateway_endpoints={"video": ["10.0.0.2:1", "[fd00::3]:2"]})
    video = next(cluster for cluster in found["static_resources"]["clusters"] if cluster["name"] == "video")
    endpoints = video["load_assignment"]["endpoints"][0]["lb_endpoints"]
    addresses = [endpoint["endpoint"]["address"]["socket_address"] for endpoint in endpoints]
    assert [(each["address"], each["port_value"]) for each in addresses] == [("10.0.0.2", 1), ("fd00::3", 2)]


def test_breakers_leave_room_for_watchers(tmp_path: Path) -> None:
    for cluster in config(tmp_path)["static_resources"]["clusters"]:
        limits = cluster["circuit_breakers"]["thresholds"][0]
        assert limits["max_requests"] > 2000
        assert limits["max_pending_requests"] > 2000


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file:///srv/film%20media", "/srv/film media/projects/"),
        ("s3://bucket/media", None),
    ],
)
def test_media_are_served_from_a_folder(url: str, folder: str | None, tmp_path: Path) -> None:
    names = [each["name"] for each in manager(config(tmp_path, media_url=url))["http_filters"]]
    assert ("envoy.filters.http.file_server" in names) == (folder is not None)
    if folder is not None:
        mapping = http_filter(config(tmp_path, media_url=url), "file_server")["path_mappings"]
        assert mapping == [{"request_path_prefix": "/media/projects/", "file_path_prefix": folder}]


def test_only_the_projects_of_the_media_are_served(tmp_path: Path) -> None:
    (mapping,) = http_filter(config(tmp_path), "file_server")["path_mappings"]
    assert mapping["file_path_prefix"] == f"{tmp_path}/media/projects/"
    assert CONTENT_TYPES["mp4"] == "video/mp4"


@pytest.mark.parametrize(
    ("template", "pattern"),
    [
        ("/v1/jobs", "^/v1/jobs$"),
        ("/v1/jobs/{job_id}:cancel", "^/v1/jobs/[^/]+:cancel$"),
        ("/v1/projects/{project.id}/a-b.c", "^/v1/projects/[^/]+/a%-b%.c$"),
    ],
)
def test_paths_as_lua_patterns(template: str, pattern: str) -> None:
    assert lua_pattern(template) == pattern


def test_the_filter_against_unknown_fields_knows_every_json_body() -> None:
    source = lua_source(image_path())
    for service in public_services(SERVICES):
        for method in service.methods:
            for rule in method.http:
                with_body = rule.verb in ("POST", "PATCH") and not method.raw and not method.client_streaming
                assert (f'"{lua_pattern(rule.path)}"' in source) or not with_body


def test_traces_are_sent_only_when_asked_for(tmp_path: Path) -> None:
    assert "tracing" not in manager(config(tmp_path))
    found = config(tmp_path, otlp_endpoint="http://127.0.0.1:4317")
    assert "tracing" in manager(found)
    clusters = {cluster["name"]: cluster for cluster in found["static_resources"]["clusters"]}
    assert "transport_socket" not in clusters[TELEMETRY]
    with pytest.raises(ValueError, match="otlp_endpoint"):
        config(tmp_path, otlp_endpoint="collector")


def test_keys_are_removed_before_anything_else_sees_them(tmp_path: Path) -> None:
    first = manager(config(tmp_path))["http_filters"][0]
    assert first["typed_config"]["mutations"] == {"query_parameter_mutations": [{"remove": "key"}]}


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        (None, "http://localhost:5173", True),
        (None, "https://127.0.0.1", True),
        (None, "http://[::1]:80", True),
        (None, "http://localhost.evil.example", False),
        (None, "http://localhost:5173.evil.example", False),
        (["https://studio.example"], "https://studio.example", True),
        (["https://studio.example"], "http://localhost:5173", False),
    ],
)
def test_origins(origins: list[str] | None, origin: str, allowed: bool, tmp_path: Path) -> None:
    settings = {} if origins is None else {"gateway_cors_origins": origins}
    host = manager(config(tmp_path, **settings))["route_config"]["virtual_hosts"][0]
    matchers = host["typed_per_filter_config"]["envoy.filters.http.cors"]["allow_origin_string_match"]
    # Envoy matches a regular expression against the whole value.
    hits = [
        matcher.get("exact") == origin
        or ("safe_regex" in matcher and re.fullmatch(matcher["safe_regex"]["regex"], origin) is not None)
        for matcher in matchers
    ]
    assert any(hits) is allowed
    assert is_refused("FOREIGN_ORIGIN", origin, tmp_path, **settings) is not allowed


def is_refused(reason: str, value: str, tmp_path: Path, **settings: Any) -> bool:
    """Whether the header's value is refused for this reason."""
    found = {each.reason: each for each in refusals(GatewaySettings(home=tmp_path, **settings))}
    if reason not in found:
        return False
    matcher = found[reason].matcher
    assert matcher["invert_match"]
    return re.fullmatch(matcher["string_match"]["safe_regex"]["regex"], value) is None


def test_any_origin_may_be_allowed(tmp_path: Path) -> None:
    assert not is_refused("FOREIGN_ORIGIN", "https://a.example", tmp_path, gateway_cors_origins=["*"])


@pytest.mark.parametrize("origin", ["null", "", "http://localhost:1,https://evil.example", "file://"])
def test_odd_origins_are_refused(origin: str, tmp_path: Path) -> None:
    assert is_refused("FOREIGN_ORIGIN", origin, tmp_path)


@pytest.mark.parametrize(
    ("settings", "host", "refused"),
    [
        ({}, "localhost", False),
        ({}, "LocalHost:8080", False),
        ({}, "127.0.0.1:1", False),
        ({}, "[::1]:8080", False),
        ({}, "evil.example", True),
        ({}, "localhost.evil.example", True),
        ({}, "127.0.0.1.evil.example:8080", True),
        ({}, "127x0.0.1", True),
        ({}, "localhost:8080:evil", True),
        ({}, "", True),
        ({}, "127.0.0.2:80", True),
        ({"gateway_listen": "127.0.0.2:80"}, "127.0.0.2:80", False),
        ({"gateway_listen": "[::1]:80"}, "[::1]:80", False),
        ({}, "studio.example", True),
        ({"gateway_hosts": ["studio.example"]}, "studio.example", False),
        ({"gateway_hosts": ["studio.example"]}, "studio.example:443", False),
        ({"gateway_hosts": ["studio.example"]}, "localhost:8080", False),
        ({"gateway_hosts": ["studio.example"]}, "other.example", True),
    ],
)
def test_hosts(settings: dict[str, Any], host: str, refused: bool, tmp_path: Path) -> None:
    assert is_refused("FOREIGN_HOST", host, tmp_path, **settings) is refused


def test_the_document_shows_the_routes_in_force() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    table = text.split("<!-- routes -->\n")[1]
    assert table == http_table(SERVICES)
