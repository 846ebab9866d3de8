"""Output that comes while an action runs, from an executor that names its streams: none that can be installed here serves them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2_grpc as services
from buildgrid.common.protos.google.bytestream import bytestream_pb2 as bytestream
from buildgrid.common.protos.google.bytestream import bytestream_pb2_grpc as bytestream_services
from buildgrid.common.protos.google.longrunning import operations_pb2

from enginewright.remote.address import Access, parse
from enginewright.remote.channel import Connection
from enginewright.remote.digest import Digest
from enginewright.remote.execution import Execution


class Executor(services.ExecutionServicer, bytestream_services.ByteStreamServicer):  # type: ignore[misc]
    """Runs an action that prints ``printed``, and is done once ``seen`` is set; with ``drops`` it ends the first stream before."""

    def __init__(self, printed: bytes, serves: bool = True, drops: bool = False) -> None:
        self.printed = printed
        self.serves = serves
        self.drops = drops
        self.seen = threading.Event()
        self.offsets: list[int] = []

    def Execute(self, request: Any, context: grpc.ServicerContext) -> Iterator[operations_pb2.Operation]:
        yield self._operation(reapi.ExecutionStage.QUEUED, "")
        yield self._operation(reapi.ExecutionStage.EXECUTING, "streams/1")
        if self.drops:
            self.seen.wait(10)
            self.seen.clear()
            context.abort(grpc.StatusCode.UNAVAILABLE, "a proxy went away")
        yield from self.WaitExecution(request, context)

    def WaitExecution(self, request: Any, context: grpc.ServicerContext) -> Iterator[operations_pb2.Operation]:
        yield self._operation(reapi.ExecutionStage.EXECUTING, "streams/1")
        assert self.seen.wait(10) or not self.serves
        done = self._operation(reapi.ExecutionStage.COMPLETED, "streams/1")
        done.done = True
        done.response.Pack(reapi.ExecuteResponse(result=reapi.ActionResult(stdout_raw=self.printed)))
        yield done

    def Read(self, request: bytestream.ReadRequest, context: grpc.ServicerContext) -> Iterator[bytestream.ReadResponse]:
        if not self.serves:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such stream")
        self.offsets.append(request.read_offset)
        if request.resource_name == "streams/1" and request.read_offset == 0:
            yield bytestream.ReadResponse(data=self.printed[:4])
            while self.drops and context.is_active():
                threading.Event().wait(0.01)
        yield bytestream.ReadResponse(data=self.printed[max(4, request.read_offset) :])

    def _operation(self, stage: int, stream: str) -> operations_pb2.Operation:
        made = operations_pb2.Operation(name="operations/1")
        made.metadata.Pack(reapi.ExecuteOperationMetadata(stage=stage, stdout_stream_name=stream))
        return made


def run(executor: Executor, expected: list[bytes]) -> list[bytes]:
    """What is shown of an action, which ends when all of ``expected`` was, one after the other."""
    shown: list[bytes] = []

    def show(data: bytes) -> None:
        shown.append(data)
        if b"".join(shown) in expected:
            executor.seen.set()

    server = grpc.server(ThreadPoolExecutor(8))
    services.add_ExecutionServicer_to_server(executor, server)
    bytestream_services.add_ByteStreamServicer_to_server(executor, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    execution = Execution(Connection(parse(f"grpc://127.0.0.1:{port}"), Access(), 5.0))
    try:
        executed = execution.run(Digest.of(b""), show=show)
        assert executed.stdout.raw == executor.printed
    finally:
        execution.close()
        server.stop(None)
    return shown


def test_what_is_printed_is_shown_before_the_action_ends() -> None:
    assert b"".join(run(Executor(b"one\ntwo\n"), [b"one\ntwo\n"])) == b"one\ntwo\n"


def test_after_a_dropped_stream_it_goes_on_where_it_was() -> None:
    executor = Executor(b"one\ntwo\n", drops=True)
    assert b"".join(run(executor, [b"one\n", b"one\ntwo\n"])) == b"one\ntwo\n"
    assert executor.offsets == [0, 4]


@pytest.mark.parametrize("printed", [b"", b"one\ntwo\n"])
def test_a_stream_that_is_named_and_not_served_is_no_harm(printed: bytes) -> None:
    executor = Executor(printed, serves=False)
    executor.seen.set()
    assert run(executor, []) == []
