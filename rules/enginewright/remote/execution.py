"""Having an action run by a REAPI executor, and waiting for it: the service Execution, and Operations to call it off.

Sources: build.bazel.remote.execution.v2, https://github.com/bazelbuild/remote-apis, and google.longrunning.Operations.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, NamedTuple

import grpc
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2_grpc as services
from buildgrid.common.protos.google.longrunning import operations_pb2, operations_pb2_grpc
from buildgrid.common.protos.google.rpc import code_pb2, error_details_pb2, status_pb2
from google.protobuf.message import DecodeError

from enginewright.errors import ActionError
from enginewright.remote.attempts import Patience, patiently
from enginewright.remote.channel import Connection
from enginewright.remote.digest import Digest
from enginewright.remote.errors import RemoteError
from enginewright.remote.following import Following
from enginewright.remote.messages import RemoteResult, from_message, result_of, to_message

LONG = 30.0
"""Seconds in the executor's queue after which it is told that an action waits."""

_PAUSES = (0.1, 0.5, 1, 2, 4, 8)
"""Seconds before each new attempt to reach an executor that has gone: it may be starting anew."""

_GONE = {
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED,
}  # fmt: skip
_REFUSED = {code_pb2.INVALID_ARGUMENT, code_pb2.PERMISSION_DENIED, code_pb2.FAILED_PRECONDITION, code_pb2.CANCELLED}


class NoWorkerError(ActionError):
    """No worker took an action in the time that it may wait."""


class GaveUpError(RemoteError):
    """The executor could not run an action: its workers died of it, say. It may well run others."""


class InputsMissingError(GaveUpError):
    """The executor's storage lacks some of an action's blobs: it has lost them since they were put there."""


class Printed(NamedTuple):
    """What an action wrote to one of its two outputs: the bytes themselves, or where they are."""

    raw: bytes
    digest: Digest

    @classmethod
    def of(cls, raw: bytes, digest: reapi.Digest) -> Printed:
        """What an ActionResult says of it."""
        return cls(raw, from_message(digest))


class Executed(NamedTuple):
    """What became of an action. ``cached`` says that the executor had its result already; ``late``, that it was stopped for its time."""

    result: RemoteResult
    stdout: Printed
    stderr: Printed
    cached: bool
    late: bool
    message: str


class Execution:
    """The executor behind a connection; actions may be given to it from any thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._service = services.ExecutionStub(connection.channel)
        self._operations = operations_pb2_grpc.OperationsStub(connection.channel)
        self._stopped = threading.Event()
        self._calls: set[Any] = set()
        self._lock = threading.Lock()

    def check(self) -> None:
        """Reach the server. Raises RemoteError when it cannot be reached, or does not run actions."""
        capabilities = services.CapabilitiesStub(self._connection.channel)
        request = reapi.GetCapabilitiesRequest(instance_name=self._connection.instance)

        def ask() -> reapi.ServerCapabilities:
            with self._connection.errors("asking what it can do"):
                return capabilities.GetCapabilities(request, timeout=self._connection.timeout, metadata=self._connection.metadata)

        found = patiently(ask, self._stopped)
        if not found.execution_capabilities.exec_enabled:
            raise RemoteError(f"{self._connection.address} is a cache alone: it does not run actions")
        digests = found.execution_capabilities.digest_function
        if digests not in (reapi.DigestFunction.UNKNOWN, reapi.DigestFunction.SHA256):
            raise RemoteError(f"{self._connection.address} does not run actions whose digests are SHA256, which are those used here")

    def run(
        self,
        action: Digest,
        patience: float | None = None,
        use_cached: bool = True,
        show: Callable[[bytes], object] = lambda data: None,
        waits: Callable[[], object] = lambda: None,
    ) -> Executed:
        """Have an action run whose blobs are all in the executor's storage, and wait for its end.

        ``patience`` is for how many seconds it may wait for a worker, or for room at an executor that is full. When the same action is
        under way already, for whomever, the executor gives that one's result. ``show`` is given what the action prints while it runs, if
        the executor tells. ``waits`` is called when it has been in the queue for long, once or more often.

        Raises RemoteError when the executor cannot be reached any more; GaveUpError; InputsMissingError; ActionError when the executor
        refuses the action, no worker takes it in time, or `stop` is called.
        """
        name, attempt, waiting, bearing = "", 0, _Waiting(patience, waits), Patience(self._stopped)
        following = Following(self._connection, show)
        while True:
            self._refuse_if_stopped(name)
            try:
                with self._stream(name, action, use_cached) as operations, waiting.watch(operations), closing(following):
                    for operation in operations:
                        name, attempt = operation.name, 0
                        metadata = _metadata(operation)
                        waiting.reached(metadata.stage)
                        following.look(metadata.stdout_stream_name)
                        if operation.done:
                            return self._outcome(operation)
                # As a proxy between does after some minutes.
                problem = RemoteError(f"{self._connection.address} ended the stream of an action without a result", temporary=True)
            except grpc.RpcError as error:
                self._refuse_if_stopped(name)
                if waiting.in_vain or waiting.over:
                    self._cancel(name)
                    raise NoWorkerError(f"no worker of the remote executor took it in {patience:g} s") from None
                name, problem = self._lost(error, name)
            if bearing.lasts(problem):
                continue
            if attempt == len(_PAUSES):
                raise problem
            self._stopped.wait(_PAUSES[attempt])
            attempt += 1

    def stop(self) -> None:
        """End all that is waited for, now and from now on, and tell the executor that nobody here wants it any more."""
        self._stopped.set()
        with self._lock:
            calls = list(self._calls)
        for call in calls:
            call.cancel()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def _stream(self, name: str, action: Digest, use_cached: bool) -> Iterator[Any]:
        """The operations of an action that is given to the executor now, or, with a ``name``, was before."""
        metadata = self._connection.metadata
        if name:
            call = self._service.WaitExecution(reapi.WaitExecutionRequest(name=name), metadata=metadata)
        else:
            request = reapi.ExecuteRequest(
                instance_name=self._connection.instance, action_digest=to_message(action), skip_cache_lookup=not use_cached
            )
            call = self._service.Execute(request, metadata=metadata)
        with self._lock:
            self._calls.add(call)
        try:
            if self._stopped.is_set():  # and so was not among those that were cancelled
                call.cancel()
            yield call
        finally:
            with self._lock:
                self._calls.discard(call)

    def _lost(self, error: Any, name: str) -> tuple[str, RemoteError]:
        """The operation to wait for after an error, none if the action is to be given anew, and the error. Raises when it is final."""
        code, problem = error.code(), self._connection.error(error, "running an action")
        if code is grpc.StatusCode.NOT_FOUND and name:
            return "", problem  # an executor that was started anew need not know what the one before did
        if code in _GONE:
            return name, problem
        if code in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND) and _about_blobs(error):
            raise InputsMissingError(str(problem)) from None
        if code in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT):
            raise ActionError(f"the remote executor refuses it: {error.details()}") from None
        raise problem

    def _outcome(self, operation: operations_pb2.Operation) -> Executed:
        """What an operation that is done came to. Raises as `run` does."""
        response = reapi.ExecuteResponse()
        status = operation.error
        if operation.HasField("response"):
            operation.response.Unpack(response)
            status = response.status
        if status.code not in (code_pb2.OK, code_pb2.DEADLINE_EXCEEDED):
            text = status.message or f"code {status.code}"
            if _violations(status.details):
                raise InputsMissingError(text)
            if status.code in _REFUSED:
                raise ActionError(f"the remote executor gave it up: {text}")
            raise GaveUpError(f"{self._connection.address} could not run it: {text}")
        result = response.result
        return Executed(
            result_of(result),
            Printed.of(result.stdout_raw, result.stdout_digest),
            Printed.of(result.stderr_raw, result.stderr_digest),
            response.cached_result,
            status.code == code_pb2.DEADLINE_EXCEEDED,
            response.message or status.message,
        )

    def _refuse_if_stopped(self, name: str) -> None:
        if self._stopped.is_set():
            self._cancel(name)
            raise ActionError("was interrupted")

    def _cancel(self, name: str) -> None:
        """Tell the executor that an operation is not wanted here. It runs on when another build waits for the same action."""
        if name:
            with suppress(grpc.RpcError):  # not every executor can, and it may have ended
                request = operations_pb2.CancelOperationRequest(name=name)
                self._operations.CancelOperation(request, timeout=self._connection.timeout, metadata=self._connection.metadata)


class _Waiting:
    """The time that an action may wait for a worker, over all its streams; ``tell`` is called after some time in the queue."""

    def __init__(self, patience: float | None, tell: Callable[[], object]) -> None:
        self.in_vain = False
        self._until = None if patience is None else time.monotonic() + patience
        self._tell = tell
        self._queued = False
        self._timers: list[threading.Timer] = []

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self._until is not None and time.monotonic() >= self._until

    @contextmanager
    def watch(self, call: Any) -> Iterator[None]:
        """Cancel ``call`` when the time is up and no worker has the action."""

        def give_up() -> None:
            self.in_vain = True
            call.cancel()

        if self._until is not None:
            self._start(max(0.0, self._until - time.monotonic()), give_up)
        try:
            yield
        finally:
            self._rest()

    def reached(self, stage: int) -> None:
        """Take note of a stage. Of an executor that tells none it is not known that an action waits."""
        if stage == reapi.ExecutionStage.QUEUED and not self._queued:
            self._queued = True
            self._start(LONG, self._tell)
        elif stage not in (reapi.ExecutionStage.QUEUED, reapi.ExecutionStage.CACHE_CHECK):
            self._until = None
            self._rest()

    def _start(self, seconds: float, call: Callable[[], object]) -> None:
        timer = threading.Timer(seconds, call)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def _rest(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._queued = False


def _metadata(operation: operations_pb2.Operation) -> reapi.ExecuteOperationMetadata:
    metadata = reapi.ExecuteOperationMetadata()
    operation.metadata.Unpack(metadata)
    return metadata


def _about_blobs(error: Any) -> bool:
    """Whether the error of a call is that blobs are missing: by its details, as the API has it, or, of BuildGrid, its words."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            with suppress(DecodeError):
                return _violations(status_pb2.Status.FromString(value).details)
    return "from storage" in (error.details() or "")


def _violations(details: Iterable[Any]) -> bool:
    failure = error_details_pb2.PreconditionFailure()
    return any(detail.Unpack(failure) and any(each.type == "MISSING" for each in failure.violations) for detail in details)
