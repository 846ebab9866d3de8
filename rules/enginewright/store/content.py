"""The content store: bytes by digest, shared by every workspace that is pointed at it.

``blobs/ab/abcdef...`` holds the file whose XXH3-128 is ``abcdef...``, read-only. A blob appears by rename, and is
checked against its name when it is taken out, so a damaged one is never used, whatever damaged it (a power cut before the
bytes reached the disk, too): it is set aside, and the action that made it runs again. Once checked, or hashed when it was put in, it
is known by its stat for as long as this process has the store open.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import xxhash

from enginewright.store.digest import CHUNK, Entry, Stat, decode_tree, encode_tree, file_digest, tree_files
from enginewright.store.files import link, naming
from enginewright.store.scratch import Scratch
from enginewright.store.snapshot import GRANULARITY_NS

LINK_FROM = 1 << 20
"""Bytes from which a blob is taken out as a hard link. A smaller one is copied, at the same cost, so that an edit of the
output in place cannot reach the store."""


class ContentStore:
    """The blobs below one folder, which is made when it is not there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "blobs"
        for folder in (self._blobs, root / "tmp"):
            folder.mkdir(parents=True, exist_ok=True)
        self._checked: dict[str, Stat] = {}
        self._scratch: Scratch | None = None
        self._making_scratch = threading.Lock()

    @property
    def scratch(self) -> Path:
        """A folder of this process's own on the store's file system, gone when the store is closed."""
        with self._making_scratch:
            if self._scratch is None:
                self._scratch = Scratch(self.root / "tmp")
            return self._scratch.path

    def close(self) -> None:
        """Remove ``scratch``."""
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None

    def path(self, digest: str) -> Path:
        """Where the blob of this digest is, or would be."""
        return self._blobs / digest[:2] / digest

    def add_file(self, source: Path, digest: str, executable: bool = False) -> None:
        """Move ``source``, whose digest is known, into the store. It must be on the store's file system.

        A file with other names is copied, so that an edit of it by one of them, an input's say, cannot reach the store.
        """
        stat = source.stat()
        if self._holds(digest, stat):
            self._note(digest, stat)
            return
        if stat.st_nlink > 1:
            copy = self.scratch / f"{digest}.{threading.get_ident()}"
            _copy(source, copy, 0o644)
            self.add_file(copy, digest, executable)
            return
        os.chmod(source, 0o555 if executable else 0o444)
        blob = self.path(digest)
        blob.parent.mkdir(exist_ok=True)
        # An older blob of this name is replaced: the new bytes were hashed just now, the old ones some time ago.
        os.rename(source, blob)
        self._note(digest, os.stat(blob))

    def add_bytes(self, data: bytes) -> str:
        """Store ``data`` and return its digest."""
        digest = xxhash.xxh3_128_hexdigest(data)
        new = self.scratch / f"{digest}.{threading.get_ident()}"
        with naming(new):
            new.write_bytes(data)
        self.add_file(new, digest)
        return digest

    def add_tree(self, source: Path, known: dict[tuple[int, int], str]) -> str:
        """Move a folder's files into the store and return the digest of its listing.

        ``known`` maps (device, inode) to the digest of files that need no second reading: inputs linked into the tree.
        """
        entries = []
        for name, path in tree_files(source):
            stat = path.stat()
            digest = known.get((stat.st_dev, stat.st_ino)) or file_digest(path)
            entries.append(Entry(name, bool(stat.st_mode & 0o100), digest))
            self.add_file(path, digest, entries[-1].executable)
        return self.add_bytes(encode_tree(entries))

    def _note(self, digest: str, stat: os.stat_result) -> None:
        """Take note of the stat of a blob whose bytes are known to be right.

        Not of one that was written so recently that, edited now, it would have the same time.
        """
        if stat.st_ctime_ns - stat.st_mtime_ns > GRANULARITY_NS:
            self._checked[digest] = Stat.of(stat)

    def _holds(self, digest: str, stat: os.stat_result) -> bool:
        try:
            blob = os.stat(self.path(digest))
        except FileNotFoundError:
            return False
        return (blob.st_dev, blob.st_ino) == (stat.st_dev, stat.st_ino)

    def tree(self, digest: str) -> list[Entry] | None:
        """The entries of a stored tree, or None when its listing is missing or damaged."""
        try:
            data = self.path(digest).read_bytes()
            return decode_tree(data) if xxhash.xxh3_128_hexdigest(data) == digest else None
        except (FileNotFoundError, ValueError):
            return None

    def has(self, digest: str, tree: bool = False) -> bool:
        """Whether there is a blob of this digest, or all blobs of a tree; their bytes are not checked."""
        if not tree:
            return self.path(digest).exists()
        entries = self.tree(digest)
        return entries is not None and all(self.path(each.digest).exists() for each in entries)

    def quarantine(self, file: Path) -> None:
        """Set a file of the store aside that is not what its name says."""
        folder = self.root / "quarantine"
        folder.mkdir(exist_ok=True)
        os.replace(file, folder / file.name)

    def place(self, digest: str, destination: Path, staging: Path, executable: bool = False) -> bool:
        """Put the blob at ``destination`` and say whether it could be had.

        It is written below ``staging``, a folder on the file system of ``destination``, checked, and renamed. False, with a
        damaged blob set aside, when there is none whose bytes have this digest.
        """
        blob = self.path(digest)
        mode = 0o555 if executable else 0o444
        temporary = staging / f"{digest}.{threading.get_ident()}"
        try:
            stat = os.stat(blob)
            known = self._checked.get(digest) == Stat.of(stat)
            if stat.st_size >= LINK_FROM and stat.st_mode & 0o777 == mode and link(blob, temporary):
                known &= os.path.samestat(os.stat(temporary), stat)  # and not one that another build has put there meanwhile
                good, linked = known or file_digest(temporary) == digest, True
            else:
                good, linked = _copy(blob, temporary, mode) == digest, False
            if good:
                destination.parent.mkdir(parents=True, exist_ok=True)
                os.rename(temporary, destination)
                if linked:
                    self._note(digest, os.stat(destination))  # the link and the rename moved the ctime
            elif os.path.samestat(os.stat(blob), stat):  # and not one that another build has put there meanwhile
                self.quarantine(blob)
            return good
        except FileNotFoundError:
            return False
        finally:
            temporary.unlink(missing_ok=True)


def _copy(source: Path, destination: Path, mode: int) -> str:
    """Copy a file and return the XXH3-128 of what was copied."""
    state = xxhash.xxh3_128()
    destination.unlink(missing_ok=True)
    # Unbuffered, write() may write less than it is given when the disk is full.
    with naming(destination), open(source, "rb", buffering=0) as read, open(destination, "wb") as write:
        while data := read.read(CHUNK):
            state.update(data)
            write.write(data)
        os.fchmod(write.fileno(), mode)
    return state.hexdigest()
