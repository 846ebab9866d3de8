"""Writing files so that nobody sees half of one, linking them, and getting them onto the disk."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have errors of writing say which file it was. The system says so only of opening: not when the disk is full."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a kill at any moment, sees the old bytes or the new ones.

    It is not synced to disk: every file written so carries a checksum or is checked against its name when it is read.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    except OSError as error:
        error.filename = str(path)  # and not a name that nobody has heard of
        raise
    try:
        with naming(path), open(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.rename(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def link(source: str | Path, destination: Path) -> bool:
    """Make ``destination``, whatever is there, a hard link to ``source``, and say whether that could be done."""
    destination.unlink(missing_ok=True)
    try:
        os.link(source, destination)
    except OSError as error:
        # Another file system, one without links, a file of another user, one with as many links as it may have, or one that was
        # replaced just then.
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOENT):
            return False
        raise
    return True


def empty(folder: str | Path) -> None:
    """Remove what is in a folder, however deep it goes, and whatever the modes are of the folders in it.

    `shutil.rmtree` calls itself for each level, of which Python allows a thousand; here folders in folders are moved up first. Nor is
    there its care for races that cannot be here, which takes longer.
    """
    top = os.fspath(folder)
    aside, moved, waiting = f"{top}/.{os.urandom(8).hex()}", 0, [top]
    while waiting:
        here = waiting.pop()
        with os.scandir(here) as entries:
            found = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for path, is_folder in found:
            if not is_folder:
                os.unlink(path)
                continue
            if os.geteuid():  # root needs no permission
                os.chmod(path, 0o700)
            if here != top:
                moved += 1
                os.rename(path, f"{aside}{moved}")
                path = f"{aside}{moved}"
            waiting.append(path)
        if here != top:
            os.rmdir(here)


def sync_file_system(path: Path) -> None:
    """Have the kernel write out all that was written to the file system of ``path``, as syncfs(2) does."""
    import ctypes

    handle = os.open(path, os.O_RDONLY)
    try:
        ctypes.CDLL(None).syncfs(handle)
    finally:
        os.close(handle)
