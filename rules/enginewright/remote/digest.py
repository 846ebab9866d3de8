"""What names bytes beyond this machine: their SHA-256 and their number, as the Remote Execution API has it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple


class Digest(NamedTuple):
    """The SHA-256 of some bytes, 64 hexadecimal digits, and how many there are."""

    hash: str
    size: int

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The digest of these bytes."""
        return cls(hashlib.sha256(data).hexdigest(), len(data))

    @classmethod
    def of_file(cls, path: Path) -> Digest:
        """The digest of a file's bytes. Raises OSError."""
        state, size = hashlib.sha256(), 0
        with open(path, "rb", buffering=0) as file:
            while data := file.read(1 << 20):
                state.update(data)
                size += len(data)
        return cls(state.hexdigest(), size)

    def __str__(self) -> str:
        return f"{self.hash}/{self.size}"
