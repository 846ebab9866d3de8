"""The lock on a store: builds share it while they put blobs in or take them out, and whoever removes any holds it alone.

So between a blob's coming in and the record that refers to it, or a record's being found and its blobs' being placed, nothing
goes. Nobody holds it for as long as an action runs.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def shared(store: Path) -> Iterator[None]:
    """Wait until nobody holds the store alone, and see to it that nobody does until the end."""
    with _locked(store, fcntl.LOCK_SH):
        yield


@contextmanager
def alone(store: Path) -> Iterator[None]:
    """Wait until nobody shares the store or holds it alone, and see to it that nobody does until the end."""
    with _locked(store, fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(store: Path, how: int) -> Iterator[None]:
    # Each time a handle of its own: threads of one process count as several holders. The kernel lets go when a process ends.
    handle = os.open(store, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)
