"""Tar archives as OCI layers need them: the same members give the same bytes, on every machine and at any time.

Headers are ustar, with a pax extended header before those that ustar has no room for: POSIX.1-2017, pax, sections "ustar
Interchange Format" and "pax Extended Header" (https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html).
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from enginewright.errors import ActionError

_BLOCK = 512
_FIELDS = struct.Struct("100s 8s 8s 8s 12s 12s 8s c 100s 6s 2s 32s 32s 8s 8s 155s 12x")
_TYPES = {"file": b"0", "hardlink": b"1", "symlink": b"2", "folder": b"5"}


class Member(NamedTuple):
    """One entry of an archive.

    ``name`` is relative and ``/``-separated, without a ``/`` at its end. ``mode`` is the permission bits, setuid, setgid and sticky
    among them; ``source`` is where the bytes of a file are, or the bytes; ``target`` what a link leads to: for a hard link, the
    name of a file before it in the archive.
    """

    name: str
    kind: Literal["file", "folder", "symlink", "hardlink"]
    mode: int
    source: Path | bytes = b""
    target: str = ""
    uid: int = 0
    gid: int = 0


class Content:
    """What a file held when it was opened, ``size`` bytes, to be read once; ``name`` is that of the member it becomes."""

    def __init__(self, name: str, file: io.FileIO) -> None:
        self.size = os.fstat(file.fileno()).st_size
        self._name = name
        self._file = file
        self._left = self.size

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer from its start, and say with how many bytes; 0 at the end. Raises ActionError where the file has become shorter."""
        count = self._file.readinto(buffer[: self._left]) or 0
        if self._left and not count:
            raise ActionError(f"/{self._name}: its source lost {self._left} bytes while it was read: build again")
        self._left -= count
        return count

    def read(self) -> bytes:
        """All of it. Raises as `readinto`."""
        data = bytearray(self._left)
        filled = 0
        while count := self.readinto(memoryview(data)[filled:]):
            filled += count
        return bytes(data)


def archive(members: Iterable[Member], mtime: int = 0) -> Iterator[bytes | Content]:
    """The parts of an archive of ``members``, all modified ``mtime`` seconds after 1970. They may be made while they are asked for.

    They must be sorted by name, each after the folders that it lies in. `Content` must be read before the next part is asked for. Raises
    ActionError for a file that is none, or that shrinks while it is read, and ValueError where members are not in order.
    """
    last = ""
    for member in members:
        if member.name <= last:
            raise ValueError(f"{member.name!r} after {last!r}: members must be sorted, each once")
        last = member.name
        if member.kind != "file":
            yield header(member, 0, mtime)
        elif isinstance(member.source, bytes):
            size = len(member.source)
            yield header(member, size, mtime) + member.source + _padding(size)
        elif not member.source.is_file():
            raise ActionError(f"/{member.name}: its source is neither a file nor a folder")
        else:
            with member.source.open("rb", buffering=0) as file:
                content = Content(member.name, file)
                yield header(member, content.size, mtime)
                yield content
            yield _padding(content.size)
    yield bytes(2 * _BLOCK)


def packed(members: Iterable[Member]) -> bytes:
    """An archive in memory. Raises as `archive`."""
    return b"".join(part if isinstance(part, bytes) else part.read() for part in archive(members))


def header(member: Member, size: int, mtime: int) -> bytes:
    """The blocks before a member's content of ``size`` bytes: a ustar header, after a pax extended header if anything needs one.

    Raises ActionError for a name that is not Unicode, and ValueError for a number that fits neither header.
    """
    name = member.name + "/" * (member.kind == "folder")
    records: dict[str, str] = {}
    try:
        prefix, base = _split(name)
    except ValueError:
        records["path"] = name
        # Only a reader that knows no pax sees this one.
        prefix, base = b"", name.encode("ascii", "replace")[:100]
    if not member.target.isascii() or len(member.target) > 100:
        records["linkpath"] = member.target
    numbers = {"size": (size, 8**11), "uid": (member.uid, 8**7), "gid": (member.gid, 8**7)}
    records |= {key: str(value) for key, (value, limit) in numbers.items() if value >= limit}
    size, uid, gid = (0 if key in records else value for key, (value, _) in numbers.items())
    try:
        extension = b"".join(_record(key, value) for key, value in sorted(records.items()))
    except UnicodeEncodeError:
        raise ActionError(f"/{ascii(member.name)[1:-1]}: its name, or what it leads to, is not UTF-8: rename it") from None
    blocks = b""
    if extension:
        extended = _ustar(b"", b"././@PaxHeader", len(extension), 0o644, mtime, b"x")
        blocks = extended + extension + _padding(len(extension))
    target = member.target.encode("ascii", "replace")[:100]
    return blocks + _ustar(prefix, base, size, member.mode, mtime, _TYPES[member.kind], target, uid, gid)


def _split(name: str) -> tuple[bytes, bytes]:
    """A name as ustar's prefix and name fields. Raises ValueError when they cannot hold it."""
    encoded = name.encode("ascii")
    if len(encoded) <= 100:
        return b"", encoded
    # The leftmost slash that leaves at most 100 bytes after it; not the one that ends a folder's name.
    slash = encoded.index(b"/", len(encoded) - 101, -1)
    if slash > 155:
        raise ValueError(name)
    return encoded[:slash], encoded[slash + 1 :]


def _record(key: str, value: str) -> bytes:
    """A pax record, ``LENGTH KEY=VALUE\\n``, whose length counts its own digits."""
    rest = f" {key}={value}\n".encode()
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode() + rest


def _ustar(
    prefix: bytes, name: bytes, size: int, mode: int, mtime: int, kind: bytes, target: bytes = b"", uid: int = 0, gid: int = 0
) -> bytes:
    before = (name, _octal(mode, 8), _octal(uid, 8), _octal(gid, 8), _octal(size, 12), _octal(mtime, 12))
    device = _octal(0, 8)
    after = (kind, target, b"ustar", b"00", b"", b"", device, device, prefix)
    checksum = sum(_FIELDS.pack(*before, b" " * 8, *after))
    return _FIELDS.pack(*before, b"%06o\0 " % checksum, *after)


def _octal(value: int, width: int) -> bytes:
    if not 0 <= value < 8 ** (width - 1):
        raise ValueError(f"{value} does not fit a tar header's field of {width - 1} octal digits")
    return b"%0*o\0" % (width - 1, value)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)
