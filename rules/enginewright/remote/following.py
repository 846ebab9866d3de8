"""What an action prints, while it runs on a worker: the stream that an executor may name, read by the service ByteStream.

Source: ExecuteOperationMetadata of build.bazel.remote.execution.v2, https://github.com/bazelbuild/remote-apis. The stream ends when the
action does. It is there for people: what the action printed comes once more with its result.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
from buildgrid.common.protos.google.bytestream import bytestream_pb2 as bytestream
from buildgrid.common.protos.google.bytestream import bytestream_pb2_grpc as bytestream_services

from enginewright.remote.channel import Connection


class Following:
    """Gives ``sink`` what comes of an action's stream, in a thread of its own, once `look` is told the stream's name."""

    def __init__(self, connection: Connection, sink: Callable[[bytes], object]) -> None:
        self._connection = connection
        self._stream = bytestream_services.ByteStreamStub(connection.channel)
        self._sink = sink
        self._name = ""
        self._seen = 0
        self._call: Any = None
        self._thread: threading.Thread | None = None

    def look(self, name: str) -> None:
        """Follow this stream from now on, if it is one: another than before, when another worker has the action now, from its start."""
        if not name or (name == self._name and self._thread is not None):
            return
        self.close()
        self._name, self._seen = name, self._seen if name == self._name else 0
        request = bytestream.ReadRequest(resource_name=name, read_offset=self._seen)
        self._call = self._stream.Read(request, metadata=self._connection.metadata)
        self._thread = threading.Thread(target=self._follow, args=(self._call,), name="following", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Follow nothing any more; `look` takes up where this ended."""
        if self._thread is not None:
            self._call.cancel()
            self._thread.join()
            self._thread = None

    def _follow(self, call: Any) -> None:
        with suppress(grpc.RpcError):  # it may be served elsewhere, or not at all
            for part in call:
                self._sink(part.data)
                self._seen += len(part.data)
