"""An action that waits for a worker, at an executor that says so, and at one that says nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2_grpc as services
from buildgrid.common.protos.google.longrunning import operations_pb2

from enginewright.remote.address import Access, parse
from enginewright.remote.channel import Connection
from enginewright.remote.digest import Digest
from enginewright.remote.execution import Execution


class Executor(services.ExecutionServicer):  # type: ignore[misc]
    """Says of an action that it is in this stage, until ``seen`` is set or a second has gone."""

    def __init__(self, stage: int) -> None:
        self.stage = stage
        self.seen = threading.Event()

    def Execute(self, request: Any, context: grpc.ServicerContext) -> Iterator[operations_pb2.Operation]:
        operation = operations_pb2.Operation(name="operations/1")
        operation.metadata.Pack(reapi.ExecuteOperationMetadata(stage=self.stage))
        yield operation
        yield operation
        self.seen.wait(1)
        operation.done = True
        operation.response.Pack(reapi.ExecuteResponse(result=reapi.ActionResult()))
        yield operation


def waits(stage: int, patience: float | None = None) -> int:
    """How often it is told that an action in this stage waits."""
    executor, told = Executor(stage), []

    def tell() -> None:
        told.append(stage)
        executor.seen.set()

    server = grpc.server(ThreadPoolExecutor(2))
    services.add_ExecutionServicer_to_server(executor, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    execution = Execution(Connection(parse(f"grpc://127.0.0.1:{port}"), Access(), 5.0))
    try:
        execution.run(Digest.of(b""), patience, waits=tell)
    finally:
        execution.close()
        server.stop(None)
    return len(told)


def test_one_that_is_long_in_the_queue_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enginewright.remote.execution.LONG", 0.1)
    assert waits(reapi.ExecutionStage.QUEUED) == 1
    assert waits(reapi.ExecutionStage.EXECUTING) == 0


def test_an_executor_that_does_not_say_is_given_time() -> None:
    assert waits(reapi.ExecutionStage.UNKNOWN, patience=0.2) == 0
