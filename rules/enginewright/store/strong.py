"""Which SHA-256 the bytes have that the store knows by their XXH3-128: the one names them beyond this machine, the other on it.

A file of lines ``XXH3-128 SHA-256 size``, to which any number of processes append. It is a memory, not a truth: what is not in it is
found out by reading the bytes.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path

from enginewright.store.digest import file_digests

_LINE = re.compile(rb"([0-9a-f]{32}) ([0-9a-f]{64}) ([0-9]{1,18})")

_MOST = 64 << 20
"""Bytes beyond which the file is begun anew: half a million lines."""


class StrongDigests:
    """The SHA-256 and the size of bytes by their XXH3-128, kept in ``path``. Its methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, tuple[str, int]] = {}
        self._lock = threading.Lock()
        try:
            if path.stat().st_size > _MOST:
                path.unlink()
            lines = path.read_bytes().split(b"\n")
        except OSError:
            return
        for line in lines:
            if match := _LINE.fullmatch(line):
                self._known[match[1].decode()] = (match[2].decode(), int(match[3]))

    def get(self, digest: str) -> tuple[str, int] | None:
        """The SHA-256 and the size of the bytes with this XXH3-128, if they are known."""
        return self._known.get(digest)

    def note(self, digest: str, strong: str, size: int) -> None:
        """Take note of what some bytes have for digests. Raises OSError."""
        if self._known.get(digest) == (strong, size):
            return
        with self._lock:
            self._known[digest] = (strong, size)
            with open(self._path, "ab", buffering=0) as file:
                # One write, so that those of several processes do not mix; a newline before it ends what a full disk left half.
                file.write(f"\n{digest} {strong} {size}\n".encode())

    def of(self, digest: str, file: Path) -> tuple[str, int]:
        """The SHA-256 and the size of bytes that lie in a file. Raises OSError; ValueError when the file has other bytes by now."""
        known = self._known.get(digest)
        if known is None:
            fast, strong = file_digests(file)
            if fast != digest:
                raise ValueError(f"{file} has other bytes than it had")
            known = strong, file.stat().st_size
            self.note(digest, *known)
        return known
