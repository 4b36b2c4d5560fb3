"""A hub of our own, over HTTP: one repository, as slow as a test wants, and it can break off."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

COMMIT = "c0ffee" + "0" * 34
LARGE = 10_000
"""Bytes from which a file is one of the large storage."""


@dataclass
class Hub:
    """Hold what the hub has, how it behaves, and what was asked of it.

    Attributes:
        files: Those of the repository, by name.
        name: What the repository is called.
        commit: Its only one.
        url: Where it is.
        cut: Of a file, the bytes after which each connection in turn is closed.
        hold: Of a file, the bytes after which it waits for ``go``.
        go: Lets what waits go on.
        down: Whether every connection is closed without an answer.
        ranges: Whether a part of a file can be asked for.
        sent: Of each file, the first byte of each answer.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    name: str = "owner/name"
    commit: str = COMMIT
    url: str = ""
    cut: dict[str, list[int]] = field(default_factory=dict)
    hold: dict[str, int] = field(default_factory=dict)
    go: threading.Event = field(default_factory=threading.Event)
    down: bool = False
    ranges: bool = True
    sent: dict[str, list[int]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def digest(self, name: str) -> str:
        data = self.files[name]
        if len(data) >= LARGE:
            return hashlib.sha256(data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def info(self) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = []
        for name, data in self.files.items():
            one = {"rfilename": name, "size": len(data), "blobId": self.digest(name)[:40]}
            if len(data) >= LARGE:
                one["lfs"] = {"sha256": self.digest(name), "size": len(data), "pointerSize": 9}
            siblings.append(one)
        return {"id": self.name, "modelId": self.name, "sha": self.commit, "siblings": siblings}

    def tree(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = []
        for name, data in self.files.items():
            one = {
                "type": "file", "path": name, "size": len(data), "oid": self.digest(name)[:40],
            }  # fmt: skip
            if len(data) >= LARGE:
                one["lfs"] = {"oid": self.digest(name), "size": len(data), "pointerSize": 9}
            listed.append(one)
        return listed


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.hub.down:
            self.close_connection = True
            return
        path = urlsplit(self.path).path
        self.hub.asked.append(f"{self.command} {path}")
        if path.startswith(f"/api/models/{self.hub.name}"):
            told = self.hub.tree() if "/tree/" in path else self.hub.info()
            self._answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
        elif (
            path.startswith(f"/{self.hub.name}/resolve/") and path.split("/")[-1] in self.hub.files
        ):
            self._file(path.split("/")[-1])
        else:
            self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _file(self, name: str) -> None:
        data, hub = hub_data(self.hub, name), self.hub
        wanted = self.headers.get("Range") if hub.ranges else None
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", f'"{hub.digest(name)}"')
        self.send_header("X-Repo-Commit", hub.commit)
        self.send_header("Content-Length", str(len(data) - start))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        hub.sent.setdefault(name, []).append(start)
        end = hub.cut[name].pop(0) if hub.cut.get(name) else len(data)
        pause = min(hub.hold.get(name, end), end)
        self.wfile.write(data[start:pause])
        self.wfile.flush()
        if pause < end:
            assert hub.go.wait(30)
            self.wfile.write(data[max(start, pause) : end])
        if end < len(data):
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        # A test that stops a download closes the connection while it is written to.
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


def hub_data(hub: Hub, name: str) -> bytes:
    """Return what is sent, which a test may have damaged since it was told."""
    return hub.files[name]


@contextmanager
def hub_server(monkeypatch: pytest.MonkeyPatch, cache: Any) -> Iterator[Hub]:
    """Serve a hub and let the hub's client of this process know no other."""
    from huggingface_hub import constants

    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    # What a test holds back is no hub that hangs.
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 120)
    monkeypatch.setattr("florence_demo.models.fetching.PAUSES", ())
    try:
        yield hub
    finally:
        hub.go.set()
        server.shutdown()
        server.server_close()
