"""Uploads to a registry that keeps what it got of a request that broke off, as the specification has it."""

from __future__ import annotations

import hashlib
import io
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from enginewright.oci.layout import Descriptor
from enginewright.oci.media import LAYER
from enginewright.oci.registry import backoff, upload
from enginewright.oci.registry.client import Client, Repository, digest_of
from enginewright.oci.registry.errors import RegistryError
from enginewright.oci.registry.transport import CHUNK

MIB = 1 << 20


class Sessions:
    """Uploads and blobs of a registry. After so many bytes of a request as ``breaks`` says next, the connection is closed."""

    def __init__(self) -> None:
        self.host = ""
        self.uploads: dict[str, bytearray] = {}
        self.blobs: dict[str, bytes] = {}
        self.breaks: list[int] = []
        self.asked: list[str] = []
        self.received = 0
        self.lose_answer = False
        self.forgets = False


def handler(registry: Sessions) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def say(self, status: int, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

        def body(self, into: bytearray) -> bool:
            """Take in the body; whether all of it came."""
            left = int(self.headers.get("Content-Length") or 0)
            until = registry.breaks.pop(0) if registry.breaks and left else left
            while left and until > 0:
                data = self.rfile.read(min(left, until, 1 << 16))
                if not data:
                    return False
                into += data
                registry.received += len(data)
                left -= len(data)
                until -= len(data)
            self.close_connection = left > 0
            if left and registry.forgets:
                registry.uploads.clear()
            return not left

        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            name = parts.path.rpartition("/")[2]
            registry.asked.append(f"{self.command} {self.headers.get('Content-Range', '')}".strip())
            if self.command == "HEAD":
                self.say(200 if name in registry.blobs else 404)
            elif self.command == "POST":
                registry.uploads[str(len(registry.uploads))] = bytearray()
                self.say(202, Location=f"/v2/app/blobs/uploads/{len(registry.uploads) - 1}?state=a")
            elif name not in registry.uploads:
                self.say(404)
            elif self.command == "GET":
                self.say(204, Range=f"0-{max(len(registry.uploads[name]) - 1, 0)}", Location=f"/v2/app/blobs/uploads/{name}?state=b")
            elif self.command == "DELETE":
                del registry.uploads[name]
                self.say(204)
            else:
                self.receive(name, parse_qs(parts.query))

        def receive(self, name: str, query: dict[str, list[str]]) -> None:
            data = registry.uploads[name]
            start = int(re.match(r"\d*", self.headers.get("Content-Range", "0"))[0])  # type: ignore[index]
            if start != len(data):
                self.say(416)
            elif self.body(data) and self.command == "PATCH":
                self.say(202, Location=f"/v2/app/blobs/uploads/{name}?state=c")
            elif not self.close_connection:
                (digest,) = query["digest"]
                if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
                    self.say(400)
                    return
                registry.blobs[digest] = bytes(registry.uploads.pop(name))
                if registry.lose_answer:
                    self.close_connection = True
                else:
                    self.say(201, Docker_Content_Digest=digest)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    return Handler


@pytest.fixture
def registry() -> Iterator[Sessions]:
    sessions = Sessions()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(sessions))
    server.daemon_threads = True
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    sessions.host = f"127.0.0.1:{server.server_port}"
    yield sessions
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "_FIRST", 0.05)


def put(registry: Sessions, size: int) -> list[int]:
    data = os.urandom(size)
    blob = Descriptor(LAYER, digest_of(data), size)
    repository = Repository(Client(), registry.host, "app", push=True)
    steps: list[int] = []
    breaks = len(registry.breaks)
    sent = repository.put_blob(blob, lambda offset: io.BytesIO(data[offset:]), sent=steps.append)
    arrived = registry.blobs == {blob.digest: data}  # outside the assertion, which would show megabytes that differ
    assert arrived and steps[-1] == size
    # The piece that was on its way when a connection broke is not known to have gone, though some of it may have come.
    assert sent + breaks * CHUNK >= registry.received
    return steps


def test_it_goes_on_where_it_broke_off(registry: Sessions) -> None:
    registry.breaks = [3 * MIB, 4 * MIB]
    put(registry, 10 * MIB)
    last = 10 * MIB - 1
    assert registry.asked == ["POST", "PUT", "GET", f"PUT {3 * MIB}-{last}", "GET", f"PUT {7 * MIB}-{last}"]
    assert registry.received == 10 * MIB, "nothing that had come was sent again"


def test_many_breaks_are_no_failure_as_long_as_there_is_progress(registry: Sessions) -> None:
    registry.breaks = [MIB] * 9
    put(registry, 10 * MIB)
    assert registry.received == 10 * MIB


def test_one_byte_may_be_none(registry: Sessions) -> None:
    """The range 0-0 is said of both: it is not believed."""
    registry.breaks = [1]
    put(registry, 3 * MIB)
    assert registry.asked[:6] == ["POST", "PUT", "GET", "HEAD", "DELETE", "POST"]


def test_only_the_answer_was_lost(registry: Sessions) -> None:
    registry.lose_answer = True
    put(registry, MIB)
    assert registry.asked == ["POST", "PUT", "GET", "HEAD"]


def test_in_parts(registry: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a break without progress: whatever is in between may not like the size."""
    monkeypatch.setattr(upload, "_PART", 4 * MIB)
    registry.breaks = [0, 4 * MIB, 2 * MIB]
    put(registry, 10 * MIB)
    assert [each for each in registry.asked if each.startswith("P")] == [
        "POST", "PUT", "POST", f"PATCH 0-{4 * MIB - 1}", f"PATCH {4 * MIB}-{8 * MIB - 1}", f"PUT {6 * MIB}-{10 * MIB - 1}",
    ]  # fmt: skip
    assert registry.received == 10 * MIB, "nothing that had come was sent again"


def test_a_registry_that_loses_all_it_had_each_time(registry: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that arrive and are lost again are no progress: there is an end to it."""
    monkeypatch.setattr(upload, "_PART", 4 * MIB)
    registry.forgets = True
    registry.breaks = [0, *[4 * MIB, 1 * MIB] * 20]
    with pytest.raises(RegistryError):
        put(registry, 10 * MIB)
    assert len(registry.breaks) > 20
