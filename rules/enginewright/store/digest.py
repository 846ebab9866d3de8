"""Digests of files and trees, and the stat by which a file is known to be unchanged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import xxhash

CHUNK = 1 << 20
"""One read. Measured: larger reads and mmap are slower."""


class Stat(NamedTuple):
    """What tells an unchanged file without reading it.

    ``ctime_ns`` is in it because utime cannot set it: content changed with its old mtime put back is still noticed.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, result: os.stat_result) -> Stat:
        """The part of a stat result that counts."""
        # Some file systems set the highest of an inode number's 64 bits; without it the number fits a signed word.
        return cls(result.st_size, result.st_mtime_ns, result.st_ctime_ns, result.st_ino & 0x7FFF_FFFF_FFFF_FFFF)


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> None: ...


def _feed(path: str | Path, *hashes: _Hash) -> None:
    with open(path, "rb", buffering=0) as file:
        # Most files are small, and clearing a large buffer takes longer than reading one of them.
        buffer = bytearray(min(os.fstat(file.fileno()).st_size + 1, CHUNK))
        view = memoryview(buffer)
        while count := file.readinto(buffer):
            for each in hashes:
                each.update(view[:count])


def file_digest(path: str | Path) -> str:
    """The XXH3-128 of a file's bytes, 32 hexadecimal digits. Raises OSError."""
    state = xxhash.xxh3_128()
    _feed(path, state)
    return state.hexdigest()


def file_digests(path: str | Path) -> tuple[str, str]:
    """The XXH3-128 and the SHA-256 of a file's bytes, from one pass. Raises OSError."""
    import hashlib  # 3 ms that a build with nothing to do can spare

    fast, strong = xxhash.xxh3_128(), hashlib.sha256()
    _feed(path, fast, strong)
    return fast.hexdigest(), strong.hexdigest()


class Entry(NamedTuple):
    """A file of a tree: its path below the tree, whether it is executable, its digest."""

    path: str
    executable: bool
    digest: str


def tree_files(root: Path) -> Iterator[tuple[str, Path]]:
    """All files below ``root``, with their ``/``-separated paths below it, sorted by path.

    Raises ValueError for what is neither a file nor a folder, such as a symbolic link, and for a folder that cannot be listed.
    """
    found: list[tuple[str, Path]] = []

    def refuse(error: OSError) -> None:
        if isinstance(error, PermissionError):  # one that is not there has no files
            raise ValueError(f"{os.path.relpath(error.filename, root)} cannot be listed: {error.strerror}")

    for folder, subfolders, files in os.walk(root, onerror=refuse):
        for name in files + [each for each in subfolders if os.path.islink(os.path.join(folder, each))]:
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file():
                raise ValueError(f"{path.relative_to(root)} is not a regular file")
            found.append((path.relative_to(root).as_posix(), path))
    return iter(sorted(found))


def encode_tree(entries: list[Entry]) -> bytes:
    """A tree as bytes: an item a file, sorted by path. The digest of these bytes is the digest of the tree.

    Items end in a NUL, the one character besides ``/`` that no file name holds.
    """
    items = (f"{each.digest} {'x' if each.executable else '-'} {each.path}\0" for each in sorted(entries))
    return b"tree\0" + "".join(items).encode("utf-8", "surrogateescape")


def decode_tree(data: bytes) -> list[Entry]:
    """The entries that `encode_tree` wrote. Raises ValueError for other bytes."""
    head, *items = data.decode("utf-8", "surrogateescape").split("\0")
    if head != "tree" or not items or items.pop():
        raise ValueError("not a tree listing")
    return [Entry(path, mode == "x", digest) for digest, mode, path in (item.split(" ", 2) for item in items)]


def tree_digest(root: Path) -> str:
    """The digest of the tree in a folder. Raises OSError, and ValueError as `tree_files` does."""
    entries = [Entry(name, bool(path.stat().st_mode & 0o100), file_digest(path)) for name, path in tree_files(root)]
    return xxhash.xxh3_128_hexdigest(encode_tree(entries))
