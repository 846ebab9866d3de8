"""A gRPC proxy that makes a server fail, dawdle and lie, as a test tells it to."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc


@dataclass
class Faults:
    """What goes wrong. ``fails`` is asked of each call, by its method's name and its number, whether it fails, and with ``code``;
    ``delay`` is how many seconds answers take; ``mangle`` changes a serialised answer, given with its method's name. ``token`` is what
    clients must show."""

    fails: Callable[[str, int], bool] = lambda method, number: False
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    delay: float = 0.0
    mangle: Callable[[str, bytes], bytes] = lambda method, data: data
    token: str = ""
    calls: Counter[str] = field(default_factory=Counter)


class _Proxy(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, channel: grpc.Channel, faults: Faults) -> None:
        self._channel = channel
        self._faults = faults
        self._lock = threading.Lock()

    def service(self, details: Any) -> grpc.RpcMethodHandler:
        return grpc.stream_stream_rpc_method_handler(lambda requests, context: self._forward(details.method, requests, context))

    def _forward(self, path: str, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        method = path.rpartition("/")[2]
        with self._lock:
            self._faults.calls[method] += 1
            number = sum(self._faults.calls.values())
        shown = dict(context.invocation_metadata()).get("authorization", "")
        if self._faults.token and shown != f"Bearer {self._faults.token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
        if self._faults.delay:
            time.sleep(self._faults.delay)
        if self._faults.fails(method, number):
            context.abort(self._faults.code, "a fault that was asked for")
        try:
            for answer in self._channel.stream_stream(path)(requests):
                yield self._faults.mangle(method, answer)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())


@contextmanager
def proxy(server: str, faults: Faults, credentials: grpc.ServerCredentials | None = None) -> Iterator[str]:
    """The address, ``HOST:PORT``, of a proxy to the server of that address; with ``credentials`` it speaks TLS."""
    from concurrent.futures import ThreadPoolExecutor

    with grpc.insecure_channel(server) as channel:
        running = grpc.server(ThreadPoolExecutor(32), handlers=[_Proxy(channel, faults)])
        port = running.add_secure_port("localhost:0", credentials) if credentials else running.add_insecure_port("127.0.0.1:0")
        running.start()
        try:
            yield f"{'localhost' if credentials else '127.0.0.1'}:{port}"
        finally:
            running.stop(0).wait()
