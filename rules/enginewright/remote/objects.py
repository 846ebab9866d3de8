"""A shared cache of plain objects, each by its name: ``ac/SHA-256`` holds the ActionResult of an action, ``cas/SHA-256`` bytes.

Source of the names and what is under them: Bazel's HTTP caching protocol, https://bazel.build/remote/caching#http-caching.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from enginewright.remote.digest import Digest

R = TypeVar("R")

_AT_ONCE = 16
"""Requests for small objects that are under way at a time."""


class Objects(Protocol):
    """Bytes by name. All methods may be called from any thread, and raise RemoteError."""

    def describe(self) -> str:
        """Reach what holds the objects, and say in a line what it is."""

    def has(self, name: str) -> bool:
        """Whether there is an object of this name."""

    def get(self, name: str, sink: Callable[[bytes], object]) -> bool:
        """Give an object's bytes to ``sink``, some at a time; False when it is not there."""

    def put(self, name: str, content: bytes | Path) -> None:
        """Put bytes, or those of a file, there."""

    def close(self) -> None:
        """Let go of all connections."""


class ObjectCache:
    """Objects as a shared cache."""

    verifies = False

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def describe(self) -> str:
        """What holds the objects."""
        return self._objects.describe()

    def get_result(self, action: Digest, inline: Iterable[str]) -> bytes | None:
        """The object of a result."""
        return self._get(f"ac/{action.hash}")

    def put_result(self, action: Digest, result: bytes) -> None:
        """Put a result there."""
        self._objects.put(f"ac/{action.hash}", result)

    def missing(self, blobs: Collection[Digest]) -> set[Digest]:
        """Ask after each."""
        return {blob for blob, there in self._each(lambda blob: self._objects.has(f"cas/{blob.hash}"), blobs) if not there}

    def read(self, blob: Digest, sink: Callable[[bytes], object]) -> bool:
        """Read an object."""
        return self._objects.get(f"cas/{blob.hash}", sink)

    def write(self, blob: Digest, source: Path) -> None:
        """Write an object."""
        self._objects.put(f"cas/{blob.hash}", source)

    def read_small(self, blobs: Collection[Digest]) -> Mapping[Digest, bytes]:
        """Read objects, several at a time."""
        return {blob: data for blob, data in self._each(lambda blob: self._get(f"cas/{blob.hash}"), blobs) if data is not None}

    def write_small(self, blobs: Mapping[Digest, bytes]) -> None:
        """Write objects, several at a time."""
        for _ in self._each(lambda blob: self._objects.put(f"cas/{blob.hash}", blobs[blob]), blobs):
            pass

    def close(self) -> None:
        """Let go of what holds the objects."""
        self._objects.close()

    def _get(self, name: str) -> bytes | None:
        parts: list[bytes] = []
        return b"".join(parts) if self._objects.get(name, parts.append) else None

    def _each(self, call: Callable[[Digest], R], blobs: Collection[Digest]) -> Iterator[tuple[Digest, R]]:
        if len(blobs) < 2:
            yield from ((blob, call(blob)) for blob in blobs)
            return
        with ThreadPoolExecutor(min(_AT_ONCE, len(blobs))) as pool:
            yield from zip(blobs, pool.map(call, blobs))
