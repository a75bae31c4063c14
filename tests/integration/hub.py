"""A server that answers like a hub of models, as far as pulling goes: what repositories have, their files by range."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repo:
    """A repository: its files, and how it refuses."""

    files: dict[str, bytes]
    license: str = "other"
    license_name: str = "a-license"
    gated: str | bool = False
    # Told about a file beside what it holds: a damaged mirror.
    told: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Hub:
    """The server's repositories and what it was asked."""

    url: str
    repos: dict[str, Repo]
    # Of files whose first answer ends after so many bytes: the connection is cut there.
    cut: dict[str, int] = field(default_factory=dict)
    # Of files whose first answer stops after so many bytes: it waits there.
    stall: dict[str, int] = field(default_factory=dict)
    stalled: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    # (method, file, Range).
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)

    def fetched(self, name: str) -> list[str | None]:
        """The ranges in which a file was fetched, None for the whole."""
        return [span for method, file, span in self.asked if method == "GET" and file == name]


def _info(name: str, repo: Repo) -> dict[str, Any]:
    entries = []
    for path, content in repo.files.items():
        told = repo.told.get(path, content)
        entry: dict[str, Any] = {
            "rfilename": path,
            "size": len(told),
            "blobId": hashlib.sha1(told, usedforsecurity=False).hexdigest(),
        }
        if path.endswith(".safetensors"):
            entry["lfs"] = {"size": len(told), "sha256": hashlib.sha256(told).hexdigest(), "pointerSize": 134}
        entries.append(entry)
    card = {"license": repo.license, "license_name": repo.license_name, "license_link": "LICENSE.md"}
    return {"id": name, "sha": COMMIT, "gated": repo.gated, "private": False, "siblings": entries, "cardData": card}


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

        def _refuse(self, status: int, code: str = "") -> None:
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_HEAD(self) -> None:
            self._answer(head=True)

        def do_GET(self) -> None:
            if self.path.startswith("/api/models/"):
                name = "/".join(self.path.removeprefix("/api/models/").split("?")[0].split("/")[:2])
                hub.asked.append(("INFO", name, None))
                if name not in hub.repos:
                    return self._refuse(401 if name.startswith("hidden/") else 404, "RepoNotFound")
                body = json.dumps(_info(name, hub.repos[name])).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return None
            return self._answer(head=False)

        def _answer(self, *, head: bool) -> None:
            parts = self.path.lstrip("/").split("?")[0].split("/", 4)
            if len(parts) != 5:
                hub.asked.append(("OTHER", self.path, None))
                return self._refuse(404)
            owner, name, _, _, file = parts
            repo, span = hub.repos[f"{owner}/{name}"], self.headers.get("Range")
            hub.asked.append(("HEAD" if head else "GET", file, span))
            if repo.gated and self.headers.get("Authorization") != "Bearer a-token":
                return self._refuse(401, "GatedRepo")
            content = repo.files[file]
            start = int(span.removeprefix("bytes=").split("-")[0]) if span else 0
            self.send_response(206 if span else 200)
            if span:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.end_headers()
            if head:
                return None
            if file in hub.cut:
                self.wfile.write(content[start : start + hub.cut.pop(file)])
                self.close_connection = True
                return None
            if file in hub.stall:
                self.wfile.write(content[start : start + hub.stall.pop(file)])
                self.wfile.flush()
                hub.stalled.set()
                hub.go.wait(60)
                self.close_connection = True
                return None
            self.wfile.write(content[start:])
            return None

    return Handler


@contextmanager
def open_hub(repos: dict[str, Repo]) -> Iterator[Hub]:
    """The server for the length of a block, on the loopback interface."""
    hub = Hub(url="", repos=repos)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.go.set()
        server.shutdown()
        thread.join()
        server.server_close()
