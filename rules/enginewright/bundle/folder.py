"""Bundles in a folder of this machine, or of a file server."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

from enginewright.bundle.destination import LATEST, Progress, Published
from enginewright.bundle.sums import SUMS, Bundle, unsealed
from enginewright.errors import WorkspaceError
from enginewright.store.files import naming
from enginewright.store.scratch import Scratch

_CHUNK = 1 << 20


class Folder:
    """Bundles below ``root``, which is made when it is not there; ``latest`` is a symbolic link to one of them.

    A bundle is written below ``root/.partial`` and appears by rename, once its bytes are on the disk.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def publish(self, folder: Path, bundle: Bundle, progress: Progress) -> Published:
        """As in `Destination`. A bundle that is there already is read and compared; a damaged one is replaced."""
        place = self._root / bundle.name
        if _whole(place, bundle):
            return Published(str(place), 0, 0, 0, len(bundle.files))
        scratch = self._scratch()
        try:
            new = scratch.path / bundle.name
            sent = sum(_copy(folder / name, new / name, digest, name, progress) for name, digest in bundle.files.items())
            (new / SUMS).write_bytes(bundle.encode())
            for each in (new / SUMS, new, *(path for path in new.rglob("*") if path.is_dir())):
                _sync(each)
            self._appear(new, place, bundle, scratch.path / "damaged")
        finally:
            scratch.close()
        _sync(self._root)
        return Published(str(place), len(bundle.files), sent, 0, 0)

    def _appear(self, new: Path, place: Path, bundle: Bundle, aside: Path) -> None:
        for _ in range(3):
            try:
                os.rename(new, place)
                return
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise
            if _whole(place, bundle):  # another publisher was quicker
                return
            with suppress(FileNotFoundError):
                os.rename(place, aside)
                shutil.rmtree(aside, ignore_errors=True)
        raise WorkspaceError(f"{place} is damaged, and comes back damaged whenever it is replaced: does something else write there?")

    def point(self, bundle: Bundle) -> None:
        """As in `Destination`. Raises WorkspaceError where something other than a link is in the way."""
        latest = self._root / LATEST
        if latest.exists() and not latest.is_symlink():
            raise WorkspaceError(f"{latest} is no symbolic link: move it away")
        scratch = self._scratch()
        try:
            new = scratch.path / LATEST
            new.symlink_to(bundle.name)
            os.rename(new, latest)
        finally:
            scratch.close()
        _sync(self._root)

    def _scratch(self) -> Scratch:
        """A folder to prepare things in, on the same file system; those of publishers that were killed are removed."""
        partial = self._root / ".partial"
        partial.mkdir(parents=True, exist_ok=True)
        return Scratch(partial)


def _whole(place: Path, bundle: Bundle) -> bool:
    try:
        return (place / SUMS).read_bytes() == bundle.encode() and not unsealed(place, bundle)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _copy(source: Path, destination: Path, digest: str, name: str, progress: Progress) -> int:
    """Copy a file onto the disk, and return its size. Raises WorkspaceError where it has not the SHA-256 it should have."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    state, done = hashlib.sha256(), 0
    with naming(destination), source.open("rb") as read, destination.open("xb") as write:
        size = os.fstat(read.fileno()).st_size
        while data := read.read(_CHUNK):
            state.update(data)
            write.write(data)
            done += len(data)
            progress(name, done, size)
        write.flush()
        os.fsync(write.fileno())
    if state.hexdigest() != digest:
        raise WorkspaceError(f"{source} has other bytes than {SUMS} beside it says: build it again")
    destination.chmod(0o644)
    return done


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
