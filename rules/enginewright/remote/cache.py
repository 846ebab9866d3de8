"""A shared cache as a build uses it: tried again when a call fails, given up when it is gone, and never believed.

Whatever goes wrong with it, the build goes on without it; each kind of trouble is told once.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from enginewright.errors import WorkspaceError
from enginewright.remote.adapter import SMALL, Adapter
from enginewright.remote.attempts import patiently, persistently
from enginewright.remote.digest import Digest
from enginewright.remote.errors import RemoteError, WrongBytesError

T = TypeVar("T")

_PATIENCE = 3
"""Calls that failed one after the other, all their attempts, after which the cache is given up."""


@dataclass
class Traffic:
    """What a build had of a shared cache: results found and written; blobs and their bytes that came and went."""

    hits: int = 0
    misses: int = 0
    written: int = 0
    blobs_down: int = 0
    bytes_down: int = 0
    blobs_up: int = 0
    bytes_up: int = 0
    refused: int = 0
    failures: int = 0


class SharedCache:
    """Results and bytes of a cache, each checked. All methods may be called from any thread.

    ``tell`` is given what a user should know, a line at a time. When ``required`` is set, what would otherwise be told and got over is
    a WorkspaceError. With ``patient`` it is waited for while it is full or slow: it serves an executor, for which nobody here can stand in.
    """

    def __init__(
        self, adapter: Adapter, name: str, reads: bool, writes: bool, required: bool, tell: Callable[[str], None], patient: bool = False
    ) -> None:
        self.traffic = Traffic()
        self.name = name
        self.reads = reads
        self.writes = writes
        self.lost = ""
        self._adapter = adapter
        self.required = required
        self._tell = tell
        self._patient = patient
        self._stopped = threading.Event()
        self._failures = 0
        self._told: set[str] = set()
        self._refused: set[Digest] = set()
        self._lock = threading.Lock()

    def reach(self) -> str:
        """Say what the server is, or give it up at once. Raises WorkspaceError when it is required."""
        try:
            return self._insist(self._adapter.describe)
        except RemoteError as error:
            self._give_up(str(error))
            return ""

    def get_result(self, action: Digest, inline: Iterable[str]) -> bytes | None:
        """The ActionResult of an action, or None."""
        return self._attempt(lambda: self._adapter.get_result(action, inline), None) if self.reads else None

    def get_small(self, blob: Digest) -> bytes | None:
        """The bytes of a small blob, or None when they cannot be had."""
        if blob.size > SMALL:
            return None
        data = self._attempt(lambda: self._adapter.read_small([blob]).get(blob), None)
        if data is None:
            return None
        self._count(data)
        if Digest.of(data) != blob:
            self.refuse(f"other bytes than those of {blob}", blob)
            return None
        return data

    def get_file(self, blob: Digest, destination: Path, update: Callable[[bytes], object]) -> bool:
        """Write a blob to a new file and say whether it could be had. ``update`` is given its bytes, some at a time, once they come.

        When the call is made again, ``update`` sees all bytes anew, after an empty piece.
        """
        data = self.get_small(blob) if blob.size <= SMALL else None
        if blob.size <= SMALL:
            if data is not None:
                update(b"")
                update(data)
                destination.write_bytes(data)
            return data is not None

        def read() -> bool:
            with open(destination, "wb", buffering=0) as file:
                update(b"")
                return self._read(blob, file, update)

        try:
            return self._attempt(read, False)
        except WrongBytesError as error:
            self.refuse(str(error), blob)
            return False

    def _read(self, blob: Digest, file: BinaryIO, update: Callable[[bytes], object]) -> bool:
        state, size = hashlib.sha256(), 0

        def sink(data: bytes) -> None:
            nonlocal size
            size += len(data)
            if size > blob.size:
                raise WrongBytesError(f"more bytes than those of {blob}")
            state.update(data)
            update(data)
            rest = memoryview(data)
            while rest:  # unbuffered, and so it may write less than it is given
                rest = rest[file.write(rest) :]

        found = self._adapter.read(blob, sink)
        with self._lock:
            self.traffic.blobs_down += found
            self.traffic.bytes_down += size
        if found and (state.hexdigest(), size) != blob:
            raise WrongBytesError(f"{'fewer' if size < blob.size else 'other'} bytes than those of {blob}")
        return found

    def put(self, action: Digest, result: bytes, small: Mapping[Digest, bytes], files: Mapping[Digest, Path]) -> bool:
        """Write a result, and before it the blobs it refers to, those that are not there yet. Whether that was done."""
        if not self.writes:
            return False

        def write() -> bool:
            all_blobs = {*small, *files}
            missing = self._adapter.missing(all_blobs) | (self._refused & all_blobs)
            several = {digest: data for digest, data in small.items() if digest in missing}
            several |= {digest: file.read_bytes() for digest, file in files.items() if digest in missing and digest.size <= SMALL}
            for digest, data in several.items():
                if Digest.of(data) != digest:
                    raise RemoteError(f"the store has other bytes than those of {digest}")
            if several:
                self._adapter.write_small(several)
            for digest in missing - several.keys():
                if not self._adapter.verifies and Digest.of_file(files[digest]) != digest:
                    raise RemoteError(f"the store has other bytes than those of {digest}")
                self._adapter.write(digest, files[digest])
            self._adapter.put_result(action, result)
            with self._lock:
                self.traffic.written += 1
                self.traffic.blobs_up += len(missing)
                self.traffic.bytes_up += sum(digest.size for digest in missing) + len(result)
                self._refused -= missing
            return True

        return self._attempt(write, False)

    def refuse(self, what: str, blob: Digest | None = None) -> None:
        """Take note that the cache gave what is not to be used; it is told once."""
        with self._lock:
            self.traffic.refused += 1
            if blob is not None:
                self._refused.add(blob)
        self._tell_once("refused", f"the remote cache {self.name} gave {what}: refused; what it is needed for is made here")

    def found(self, hit: bool) -> None:
        """Count a result that was found, and is good, or was not."""
        with self._lock:
            self.traffic.hits += hit
            self.traffic.misses += not hit

    def close(self) -> None:
        """Let go of the server; what is under way fails, and is not tried again."""
        self.lost = self.lost or "the build ended"
        self._stopped.set()
        self._adapter.close()

    def _count(self, data: bytes) -> None:
        with self._lock:
            self.traffic.blobs_down += 1
            self.traffic.bytes_down += len(data)

    def _attempt(self, call: Callable[[], T], otherwise: T) -> T:
        """The value of a call, made several times if need be; ``otherwise`` when it cannot be had."""
        if self.lost and self.required:
            raise WorkspaceError(f"{self.lost} (--remote-required)")
        if self.lost:
            return otherwise
        try:
            value = self._insist(call)
        except WrongBytesError:
            raise
        except RemoteError as error:
            self._failed(error)
            return otherwise
        self._failures = 0
        return value

    def _insist(self, call: Callable[[], T]) -> T:
        """The value of a call, made several times if need be. Raises RemoteError."""

        def watched() -> T:
            try:
                return call()
            except RemoteError as error:
                if error.slow:
                    self._tell_once("slow", f"{error}; it is asked again, and given more time")
                raise

        return patiently(watched, self._stopped) if self._patient else persistently(call, lambda: not self.lost)

    def _failed(self, error: RemoteError) -> None:
        if self.lost:  # by another call, meanwhile
            return
        with self._lock:
            self.traffic.failures += 1
            self._failures += 1
            given_up = error.temporary or self._failures >= (2 if error.slow else _PATIENCE)
        if given_up or self.required:
            self._give_up(str(error))
        else:
            self._tell_once("failed", f"{error}; what it was needed for is done here")

    def _give_up(self, reason: str) -> None:
        with self._lock:
            first, self.lost = not self.lost, self.lost or reason
        self._stopped.set()
        if self.required:
            raise WorkspaceError(f"{reason} (--remote-required)")
        if first:
            self._tell(f"{reason}; the build goes on without the remote cache")

    def _tell_once(self, kind: str, text: str) -> None:
        with self._lock:
            first = kind not in self._told
            self._told.add(kind)
        if first:
            self._tell(text)
