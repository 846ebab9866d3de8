"""A shared cache by the Remote Execution API: its services ActionCache, ContentAddressableStorage, ByteStream and Capabilities."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import grpc
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2_grpc as services
from buildgrid.common.protos.google.bytestream import bytestream_pb2 as bytestream
from buildgrid.common.protos.google.bytestream import bytestream_pb2_grpc as bytestream_services

from enginewright.remote.adapter import CHUNK
from enginewright.remote.channel import BATCH, Connection
from enginewright.remote.digest import Digest
from enginewright.remote.errors import RemoteError
from enginewright.remote.messages import from_message, to_message

T = TypeVar("T")

_ASKED = 10_000
"""Digests that are asked after in one call: less than a megabyte."""

_AROUND = 100
"""Bytes that a digest adds to a blob in a batch, at most."""

_OK, _NOT_FOUND = 0, 5
"""Codes of google.rpc.Status."""


class ReapiCache:
    """The cache behind a connection."""

    verifies = True

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        channel = connection.channel
        self._capabilities = services.CapabilitiesStub(channel)
        self._actions = services.ActionCacheStub(channel)
        self._storage = services.ContentAddressableStorageStub(channel)
        self._stream = bytestream_services.ByteStreamStub(channel)
        self._batch = BATCH

    def describe(self) -> str:
        """Ask the server for its capabilities."""
        capabilities = self.capabilities()
        found = capabilities.cache_capabilities
        if found.digest_function and reapi.DigestFunction.SHA256 not in found.digest_function:
            names = ", ".join(reapi.DigestFunction.Value.Name(each) for each in found.digest_function)
            raise RemoteError(f"{self._connection.address} does not know SHA256, the digest function used here; it has {names}")
        if found.max_batch_total_size_bytes:
            self._batch = min(BATCH, found.max_batch_total_size_bytes)
        writes = "" if found.action_cache_update_capabilities.update_enabled else ", results cannot be written by everybody"
        return f"Remote Execution API{_version(capabilities)}, SHA256{writes}"

    def capabilities(self) -> reapi.ServerCapabilities:
        """What the server says that it can do."""
        return self._call(
            self._capabilities.GetCapabilities,
            reapi.GetCapabilitiesRequest(instance_name=self._connection.instance),
            "asking what it can do",
        )

    def get_result(self, action: Digest, inline: Iterable[str]) -> bytes | None:
        """Ask the action cache."""
        request = reapi.GetActionResultRequest(
            instance_name=self._connection.instance, action_digest=to_message(action), inline_output_files=list(inline)
        )
        with self._connection.errors("asking for a result"):
            try:
                found = self._actions.GetActionResult(request, timeout=self._connection.timeout, metadata=self._connection.metadata)
            except grpc.RpcError as error:
                if _missing(error):
                    return None
                raise
        return bytes(found.SerializeToString())

    def put_result(self, action: Digest, result: bytes) -> None:
        """Update the action cache."""
        request = reapi.UpdateActionResultRequest(
            instance_name=self._connection.instance, action_digest=to_message(action), action_result=reapi.ActionResult.FromString(result)
        )
        self._call(self._actions.UpdateActionResult, request, "writing a result")

    def missing(self, blobs: Collection[Digest]) -> set[Digest]:
        """Ask the storage with FindMissingBlobs."""
        found: set[Digest] = set()
        for some in _chunks(sorted(blobs), _ASKED):
            request = reapi.FindMissingBlobsRequest(instance_name=self._connection.instance, blob_digests=map(to_message, some))
            found.update(
                map(from_message, self._call(self._storage.FindMissingBlobs, request, "asking what it lacks").missing_blob_digests)
            )
        return found

    def read(self, blob: Digest, sink: Callable[[bytes], object]) -> bool:
        """Stream a blob from the storage."""
        request = bytestream.ReadRequest(resource_name=self._name(f"blobs/{blob}"))
        with self._connection.errors(f"reading {blob}"):
            try:
                for part in self._stream.Read(request, timeout=self._connection.allow(blob.size), metadata=self._connection.metadata):
                    sink(part.data)
            except grpc.RpcError as error:
                if _missing(error):
                    return False
                raise
        return True

    def write(self, blob: Digest, source: Path) -> None:
        """Stream a file to the storage."""
        name = self._name(f"uploads/{uuid.uuid4()}/blobs/{blob}")
        with open(source, "rb", buffering=0) as file, self._connection.errors(f"writing {blob}"):
            reply = self._stream.Write(
                _parts(name, file.read, blob.size), timeout=self._connection.allow(blob.size), metadata=self._connection.metadata
            )
        # Fewer when another client was quicker and the server stopped listening, which is said by -1, or the whole size.
        if reply.committed_size not in (blob.size, -1):
            raise RemoteError(f"{self._connection.address} took {reply.committed_size} of {blob.size} bytes of {blob.hash}", temporary=True)

    def read_small(self, blobs: Collection[Digest]) -> Mapping[Digest, bytes]:
        """Read blobs in batches."""
        found: dict[Digest, bytes] = {}
        for some in self._batches(blobs):
            request = reapi.BatchReadBlobsRequest(instance_name=self._connection.instance, digests=map(to_message, some))
            for each in self._call(self._storage.BatchReadBlobs, request, "reading blobs").responses:
                if each.status.code == _OK:
                    found[from_message(each.digest)] = each.data
                elif each.status.code != _NOT_FOUND:
                    raise RemoteError(
                        f"{self._connection.address} could not read {each.digest.hash}: {each.status.message}", temporary=True
                    )
        return found

    def write_small(self, blobs: Mapping[Digest, bytes]) -> None:
        """Write blobs in batches."""
        for some in self._batches(blobs):
            request = reapi.BatchUpdateBlobsRequest(
                instance_name=self._connection.instance,
                requests=[reapi.BatchUpdateBlobsRequest.Request(digest=to_message(each), data=blobs[each]) for each in some],
            )
            for reply in self._call(self._storage.BatchUpdateBlobs, request, "writing blobs").responses:
                if reply.status.code != _OK:
                    raise RemoteError(
                        f"{self._connection.address} did not take {reply.digest.hash}: {reply.status.message}", temporary=True
                    )

    def close(self) -> None:
        """Close the channel."""
        self._connection.close()

    def _name(self, resource: str) -> str:
        return f"{self._connection.instance}/{resource}" if self._connection.instance else resource

    def _call(self, method: Callable[..., T], request: object, doing: str) -> T:
        with self._connection.errors(doing):
            return method(request, timeout=self._connection.timeout, metadata=self._connection.metadata)

    def _batches(self, blobs: Iterable[Digest]) -> Iterator[list[Digest]]:
        batch: list[Digest] = []
        room = self._batch
        for each in blobs:
            if each.size + _AROUND > room and batch:
                yield batch
                batch, room = [], self._batch
            batch.append(each)
            room -= each.size + _AROUND
        if batch:
            yield batch


def _parts(name: str, read: Callable[[int], bytes], size: int) -> Iterator[bytestream.WriteRequest]:
    offset = 0
    while True:
        data = read(CHUNK)
        last = not data or offset + len(data) >= size
        yield bytestream.WriteRequest(resource_name=name if not offset else "", write_offset=offset, finish_write=last, data=data)
        offset += len(data)
        if last:
            return


def _missing(error: grpc.RpcError) -> bool:
    return isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.NOT_FOUND


def _version(found: reapi.ServerCapabilities) -> str:
    version = found.high_api_version
    return f" {version.major}.{version.minor}" if version.major else ""


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
