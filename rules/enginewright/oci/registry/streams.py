"""Blobs as streams: checked by digest and size while they are read, and read on where a connection broke."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Protocol

from enginewright.oci.layout import Descriptor
from enginewright.oci.registry.errors import RegistryError


class Readable(Protocol):
    """A stream of bytes, closed by whoever opened it."""

    def read(self, size: int = -1, /) -> bytes: ...
    def close(self) -> None: ...


Open = Callable[[int], Readable]
"""Opens a blob for reading from an offset in bytes."""


class Checked(io.RawIOBase):
    """A blob that is checked while it is read: its last bytes are only given out once all of them have the right digest.

    ``where`` names the source in an error; ``sha256`` is of the ``read`` bytes that came before. Reading raises RegistryError for other
    bytes, for too few and for too many.
    """

    def __init__(self, stream: Readable, blob: Descriptor, where: str, sha256: hashlib._Hash | None = None, read: int = 0) -> None:
        self._stream = stream
        self._blob = blob
        self._where = where
        self._sha256 = sha256 or hashlib.sha256()
        self._read = read

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Read at most as many bytes as the buffer takes."""
        data = self._stream.read(len(buffer))
        self._sha256.update(data)
        self._read += len(data)
        if self._read > self._blob.size or (not data and self._read < self._blob.size):
            amount = "at least" if data else "only"
            raise RegistryError(f"{self._where}: {self._blob.digest} has {amount} {self._read} bytes, not {self._blob.size}")
        if self._read == self._blob.size and f"sha256:{self._sha256.hexdigest()}" != self._blob.digest:
            raise RegistryError(f"{self._where}: the bytes given for {self._blob.digest} are others: their digest is another")
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the source too."""
        if not self.closed:
            self._stream.close()
        super().close()


def skip(stream: Readable, count: int) -> None:
    """Read ``count`` bytes, for nothing but their part in a check."""
    while count > 0:
        data = stream.read(min(count, 1 << 20))
        if not data:
            return
        count -= len(data)
