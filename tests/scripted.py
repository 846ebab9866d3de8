"""HTTP servers on loopback that do as a test says, and proxies that do harm to what passes through them."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Says:
    """An answer; with ``cut``, only so many bytes of its body, before the connection is closed."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None


@dataclass
class Server:
    """A server that runs: its ``host``, and what it was ``asked``, in order."""

    host: str
    asked: list[Asked]

    @property
    def lines(self) -> list[str]:
        """What it was asked, as ``GET /v2/``."""
        return [f"{each.method} {each.path}" for each in self.asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def say(self, answer: Says) -> None:
        self.send_response(answer.status)
        headers = {"Content-Length": str(len(answer.body)), **answer.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body if answer.cut is None else answer.body[: answer.cut])
        if answer.cut is not None:
            self.close_connection = True


@contextmanager
def scripted(answer: Callable[[Asked], Says]) -> Iterator[Server]:
    """A server that answers as ``answer`` says."""

    class Handler(_Handler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(self.command, self.path, dict(self.headers), body)
            served.asked.append(asked)
            self.say(answer(asked))

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    with _serving(Handler) as host:
        served = Server(host, [])
        yield served


@dataclass
class Fault:
    """What a proxy does to the first ``times`` requests of a method whose path has ``part`` in it.

    It gives an answer of its own (``says``), breaks the connection after ``sent`` bytes of the request's body have gone on, or after
    ``received`` bytes of the answer's body have come back; or it changes the first byte of that (``flip``).
    """

    method: str
    part: str
    says: Says | None = None
    sent: int | None = None
    received: int | None = None
    flip: bool = False
    times: int = 1


@contextmanager
def proxied(upstream: str, faults: list[Fault]) -> Iterator[Server]:
    """A proxy before the server at ``upstream``, with these faults, each of which is counted down."""
    lock = threading.Lock()

    def fault_for(method: str, path: str) -> Fault | None:
        with lock:
            for fault in faults:
                if fault.times and fault.method == method and fault.part in path:
                    fault.times -= 1
                    return fault
        return None

    class Handler(_Handler):
        def handle_any(self) -> None:
            served.asked.append(Asked(self.command, self.path, dict(self.headers)))
            fault = fault_for(self.command, self.path)
            length = int(self.headers.get("Content-Length") or 0)
            if fault and fault.says:
                self.rfile.read(length)
                self.say(fault.says)
                return
            connection = http.client.HTTPConnection(upstream, timeout=60)
            try:
                self.forward(connection, length, fault)
            finally:
                connection.close()

        def forward(self, connection: http.client.HTTPConnection, length: int, fault: Fault | None) -> None:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            left = length if fault is None or fault.sent is None else min(length, fault.sent)
            while left:
                data = self.rfile.read1(min(left, 1 << 16))  # type: ignore[attr-defined]
                if not data:
                    break
                connection.send(data)
                left -= len(data)
            if fault and fault.sent is not None:
                self.close_connection = True
                return
            response = connection.getresponse()
            body = response.read()
            if fault and fault.flip:
                body = bytes([body[0] ^ 1]) + body[1:]
            headers = {name: value for name, value in response.getheaders() if name.lower() not in ("content-length", "connection")}
            headers["Content-Length"] = response.getheader("Content-Length") or str(len(body))
            self.say(Says(response.status, body, headers, fault.received if fault else None))

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    with _serving(Handler) as host:
        served = Server(host, [])
        yield served


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that went away, as some tests want it

    server = Quiet(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        with suppress(OSError):
            server.server_close()
