"""Tar archives as OCI layers need them: the same files give the same bytes, on every machine and at any time.

Headers are ustar, with a pax extended header before those that ustar has no room for: POSIX.1-2017, pax, sections "ustar
Interchange Format" and "pax Extended Header" (https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html).
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, NamedTuple

from enginewright.errors import ActionError

_BLOCK = 512
_CHUNK = 1 << 20
_FIELDS = struct.Struct("100s 8s 8s 8s 12s 12s 8s c 100s 6s 2s 32s 32s 8s 8s 155s 12x")
_WHITEOUT = ".wh."


class Written(NamedTuple):
    """What was written: its digest, as ``sha256:`` and 64 hexadecimal digits, and its size in bytes."""

    digest: str
    size: int


def write_tar(archive: Path, files: Mapping[str, Path], mtime: int = 0) -> Written:
    """Write the new file ``archive``, hashing it in the same pass.

    ``files`` maps the names that files get in the archive (relative, ``/``-separated, normalised) to where they are now; a
    folder brings all that is in it, and symbolic links are followed. Members are sorted, each after the folders it lies in;
    they belong to 0:0, were modified ``mtime`` seconds after 1970, and have mode 0755 (folders) or 0644 (files, whatever
    their mode is now: it is no part of a digest, so it must not change the archive).

    Raises ActionError where two files want one name, a file is also a folder, or a name starts with ``.wh.``, which in a
    layer deletes a file (OCI image-spec, layer.md, "Whiteouts"); and for a file that shrinks while it is read.
    """
    members = _members(files)
    with archive.open("xb") as out, ThreadPoolExecutor(1) as hasher:
        tar = _HashedFile(out, hasher)
        for name in sorted(members):
            source = members[name]
            if source is None:
                tar.write(header(name + "/", 0, 0o755, mtime, b"5"))
            else:
                _add_file(tar, name, source, mtime)
        tar.write(bytes(2 * _BLOCK))
        return tar.written()


def header(name: str, size: int, mode: int, mtime: int, kind: bytes) -> bytes:
    """The blocks before a member's content: a ustar header, after a pax extended header if the name or size needs one.

    ``kind`` is ustar's typeflag: ``b"0"`` for a file, ``b"5"`` for a folder, whose name ends with ``/``. Raises ValueError
    for a name that is not Unicode and for a number that fits neither header.
    """
    records: dict[str, str] = {}
    try:
        prefix, base = _split(name)
    except ValueError:
        records["path"] = name
        # Only a reader that knows no pax sees this one.
        prefix, base = b"", name.encode("ascii", "replace")[:100]
    if size >= 8**11:
        records["size"] = str(size)
    extension = b"".join(_record(key, value) for key, value in sorted(records.items()))
    blocks = b""
    if extension:
        blocks = _ustar(b"", b"././@PaxHeader", len(extension), 0o644, mtime, b"x") + extension + _padding(len(extension))
    return blocks + _ustar(prefix, base, 0 if "size" in records else size, mode, mtime, kind)


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


def _ustar(prefix: bytes, name: bytes, size: int, mode: int, mtime: int, kind: bytes) -> bytes:
    owner = device = _octal(0, 8)
    before = (name, _octal(mode, 8), owner, owner, _octal(size, 12), _octal(mtime, 12))
    after = (kind, b"", b"ustar", b"00", b"", b"", device, device, prefix)
    checksum = sum(_FIELDS.pack(*before, b" " * 8, *after))
    return _FIELDS.pack(*before, b"%06o\0 " % checksum, *after)


def _octal(value: int, width: int) -> bytes:
    if not 0 <= value < 8 ** (width - 1):
        raise ValueError(f"{value} does not fit a tar header's field of {width - 1} octal digits")
    return b"%0*o\0" % (width - 1, value)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _members(files: Mapping[str, Path]) -> dict[str, Path | None]:
    """Every member of the archive: its name without a closing ``/``, and its file, or None for a folder."""
    members: dict[str, Path | None] = {}
    for name, path in files.items():
        *folders, _ = accumulate(name.split("/"), "{}/{}".format)
        for member, source in (*((folder, None) for folder in folders), *_below(name, path)):
            if member.rpartition("/")[2].startswith(_WHITEOUT):
                raise ActionError(f"/{member}: a name that starts with {_WHITEOUT} deletes a file in a layer: rename it")
            if members.setdefault(member, source) is not source:
                raise ActionError(f"/{member} would come from two inputs: give one of them another path in the layer")
    return members


def _below(name: str, path: Path) -> Iterator[tuple[str, Path | None]]:
    if not path.is_dir():
        yield name, path
        return
    yield name, None
    for child in path.iterdir():
        yield from _below(f"{name}/{child.name}", child)


def _add_file(tar: _HashedFile, name: str, source: Path, mtime: int) -> None:
    if not source.is_file():
        raise ActionError(f"/{name}: its source is neither a file nor a folder")
    with source.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        tar.write(header(name, size, 0o644, mtime, b"0"))
        remaining = size
        while remaining:
            chunk = file.read(min(remaining, _CHUNK))
            if not chunk:
                raise ActionError(f"/{name}: its source lost {remaining} bytes while it was read: build again")
            tar.write(chunk)
            remaining -= len(chunk)
        tar.write(_padding(size))


class _HashedFile:
    """A file that is hashed while it is written. The hash has its own thread: it takes longer than the copy, and hides it."""

    def __init__(self, out: BinaryIO, hasher: Executor) -> None:
        self._out = out
        self._hasher = hasher
        self._sha256 = hashlib.sha256()
        self._hashing: Future[None] | None = None
        self._size = 0

    def write(self, data: bytes) -> None:
        self._finish_hashing()
        if len(data) < _CHUNK:
            self._sha256.update(data)
        else:
            self._hashing = self._hasher.submit(self._sha256.update, data)
        self._out.write(data)
        self._size += len(data)

    def written(self) -> Written:
        self._finish_hashing()
        return Written(f"sha256:{self._sha256.hexdigest()}", self._size)

    def _finish_hashing(self) -> None:
        if self._hashing is not None:
            self._hashing.result()
            self._hashing = None
