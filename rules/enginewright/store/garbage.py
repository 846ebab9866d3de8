"""Clearing a store: results that were not used for longest go, and blobs that no result that stays refers to."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from enginewright.store.content import ContentStore
from enginewright.store.inventory import Inventory, Record, take_inventory
from enginewright.store.lock import alone
from enginewright.store.reproducibility import Reproducibilities
from enginewright.store.results import ActionCache
from enginewright.store.scratch import sweep


@dataclass(frozen=True)
class Limits:
    """What may stay: ``size`` bytes of blobs and records, and what was used since ``since``, in seconds since 1970. None: any."""

    size: int | None = None
    since: float | None = None


@dataclass(frozen=True)
class Keep:
    """What stays, whatever the limits say: the last results of a workspace and the digests of its outputs."""

    keys: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Garbage:
    """What goes. ``blobs`` and ``quarantined`` map names to sizes in bytes; ``left`` is the bytes of blobs and records that stay;
    ``leftovers`` is the number of half-written files and scratch folders that were removed."""

    records: Sequence[Record]
    blobs: Mapping[str, int]
    quarantined: Mapping[str, int]
    left: int
    leftovers: int = 0

    @property
    def size(self) -> int:
        """The bytes of all that goes."""
        return sum(record.size for record in self.records) + sum(self.blobs.values()) + sum(self.quarantined.values())


def find_garbage(inventory: Inventory, limits: Limits, keep: Keep) -> Garbage:
    """Choose what goes: first blobs without a result, then results, those that were used last at the end, until the limits are met.

    So what a running build of another workspace has just made or used goes last, and only for a limit that cannot be met otherwise.
    """
    users = Counter(digest for record in inventory.records for digest in record.blobs or ())
    users.update(keep.digests)
    blobs = {digest: size for digest, size in inventory.blobs.items() if not users[digest]}
    left = inventory.size - sum(blobs.values())
    records = []
    for record in sorted(inventory.records, key=lambda record: (record.used, record.key)):
        old = limits.since is not None and record.used < limits.since
        large = limits.size is not None and left > limits.size
        if record.key in keep.keys or not (old or large):
            continue
        records.append(record)
        left -= record.size
        for digest in record.blobs or ():
            users[digest] -= 1
            if not users[digest] and digest in inventory.blobs:
                blobs[digest] = inventory.blobs[digest]
                left -= blobs[digest]
    return Garbage(records, blobs, inventory.quarantined, left)


def clear(store: Path, limits: Limits, keep: Keep, dry_run: bool = False) -> Garbage:
    """Remove what goes, and return it; with ``dry_run`` only return it.

    Half-written files of processes that are gone go too. Builds wait meanwhile; what one finds gone it makes again.
    """
    if dry_run:
        return find_garbage(take_inventory(store), limits, keep)
    content, actions, reproducibilities = ContentStore(store), ActionCache(store / "actions"), Reproducibilities(store)
    with alone(store):
        garbage = find_garbage(take_inventory(store), limits, keep)
        # Records first, so that none is left that refers to a blob that is gone, should this be killed halfway.
        for record in garbage.records:
            actions.drop(record.key)
            reproducibilities.drop(record.key)
        for digest in garbage.blobs:
            content.path(digest).unlink(missing_ok=True)
        shutil.rmtree(store / "quarantine", ignore_errors=True)
        halves = [
            *store.glob("actions/*/.*.part"),
            *store.glob("reproducibility/.*.part"),
        ]
        for half in halves:
            half.unlink(missing_ok=True)
        return replace(garbage, leftovers=len(halves) + len(sweep(store / "tmp")))
