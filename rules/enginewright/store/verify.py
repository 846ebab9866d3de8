"""Checking a store: every blob against its name, every record, and that what it refers to is there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from enginewright.store.content import ContentStore
from enginewright.store.digest import file_digest
from enginewright.store.inventory import take_inventory
from enginewright.store.lock import alone
from enginewright.store.results import ActionCache

_BATCHES = 100


@dataclass(frozen=True)
class Verdict:
    """What was checked and what was wrong: blobs whose bytes have another digest, records that cannot be read, and results
    that lack a blob. The first two were set aside, the last were forgotten."""

    blobs: int
    size: int
    records: int
    damaged: Sequence[str]
    unreadable: Sequence[str]
    incomplete: Sequence[str]

    @property
    def wrong(self) -> int:
        """How many things were wrong."""
        return len(self.damaged) + len(self.unreadable) + len(self.incomplete)


def verify(store: Path, progress: Callable[[int, int], None]) -> Verdict:
    """Check a store, and set aside what is wrong. ``progress`` is told how many bytes were read and how many there are.

    Builds go on meanwhile, except for a moment at the end.
    """
    content, actions = ContentStore(store), ActionCache(store / "actions")
    found = take_inventory(store).blobs
    total, done = sum(found.values()), 0
    suspects: list[str] = []
    # In batches alike, large blobs first: to hand small ones to threads one by one takes longer than to hash them. Hashing lets
    # go of the interpreter's lock.
    blobs = sorted(found, key=lambda digest: -found[digest])
    batches = [blobs[start::_BATCHES] for start in range(min(_BATCHES, len(blobs)))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch, bad in zip(batches, pool.map(lambda batch: [each for each in batch if not _good(content, each)], batches)):
            done += sum(found[digest] for digest in batch)
            progress(done, total)
            suspects += bad
    with alone(store):
        # Once more, now that nobody can put a whole blob in the place of a damaged one.
        damaged = [digest for digest in suspects if not _good(content, digest)]
        for digest in damaged:
            content.quarantine(content.path(digest))
        now = take_inventory(store)
        unreadable = [record.key for record in now.records if record.blobs is None]
        incomplete = [record.key for record in now.records if record.blobs is not None and not record.blobs <= now.blobs.keys()]
        for key in unreadable:
            content.quarantine(actions.path(key))
        for key in incomplete:
            actions.drop(key)
    return Verdict(len(found), total, len(now.records), damaged, unreadable, incomplete)


def _good(content: ContentStore, digest: str) -> bool:
    """Whether a blob has the bytes that its name says; one that is gone is nothing to complain about."""
    try:
        return file_digest(content.path(digest)) == digest
    except FileNotFoundError:
        return True
    except OSError:  # a disk that cannot read it, or a folder in its place
        return False
