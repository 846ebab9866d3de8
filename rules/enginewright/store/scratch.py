"""Scratch folders that do not outlive their process for long, however it ends."""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from enginewright.store.files import empty

_PREFIX = "enginewright-"


class Scratch:
    """A new folder below ``parent``, for this process alone. Those of processes that are gone are removed on the way.

    The owner holds a lock on the folder, which the kernel lets go when the process ends, on whatever machine.
    """

    def __init__(self, parent: Path) -> None:
        sweep(parent)
        handle = None
        while handle is None:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            handle = _claim(self.path)
        self._handle = handle

    def close(self) -> None:
        """Remove the folder and what is in it."""
        with suppress(OSError):
            _remove(self.path)
        os.close(self._handle)


def _remove(folder: Path) -> None:
    empty(folder)
    folder.rmdir()


def _claim(folder: Path) -> int | None:
    """A handle that holds the lock on a new folder; None when the sweep of another process took it away before that."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    fcntl.flock(handle, fcntl.LOCK_EX)
    if folder.exists():
        return handle
    os.close(handle)
    return None


def sweep(parent: Path) -> list[Path]:
    """Remove the scratch folders below ``parent`` whose process is gone, and return them."""
    removed = []
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # gone already, somebody else's, or in use
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(folder)
                removed.append(folder)
            finally:
                os.close(handle)
    return removed
