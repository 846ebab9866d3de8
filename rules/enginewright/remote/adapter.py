"""The one interface to all that can be a shared cache."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from enginewright.remote.digest import Digest

CHUNK = 1 << 20
"""Bytes that are sent or received at a time."""

SMALL = 1 << 20
"""Bytes up to which blobs travel several at a time."""


class Adapter(Protocol):
    """Results by their actions' digests, and bytes by their own. Nothing that comes out of it has been checked.

    All methods may be called from any thread, and raise RemoteError. ``verifies`` says whether the server refuses bytes that have another
    digest than they are given.
    """

    verifies: bool

    def describe(self) -> str:
        """Reach the server and say in a line what it is. Raises RemoteError too when it cannot serve as a cache for what we do."""

    def get_result(self, action: Digest, inline: Iterable[str]) -> bytes | None:
        """The ActionResult of an action, or None; if it can, with the bytes of the output files at the paths ``inline``."""

    def put_result(self, action: Digest, result: bytes) -> None:
        """Keep an ActionResult, all of whose files are there."""

    def missing(self, blobs: Collection[Digest]) -> set[Digest]:
        """Which of these are not there."""

    def read(self, blob: Digest, sink: Callable[[bytes], object]) -> bool:
        """Give a blob's bytes to ``sink``, some at a time; False when it is not there."""

    def write(self, blob: Digest, source: Path) -> None:
        """Keep the bytes of a file."""

    def read_small(self, blobs: Collection[Digest]) -> Mapping[Digest, bytes]:
        """The bytes of those of these blobs that are there, none of which is larger than ``SMALL``."""

    def write_small(self, blobs: Mapping[Digest, bytes]) -> None:
        """Keep these bytes: of few blobs more than ``SMALL``."""

    def close(self) -> None:
        """Let go of all connections."""
