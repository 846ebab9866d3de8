"""What is in a store, and what refers to what: the ground on which it is counted, cleared and checked."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from enginewright.store.content import ContentStore
from enginewright.store.results import ActionCache, Result


class Record(NamedTuple):
    """A result as the store keeps it.

    ``used`` is when a build last took it or made it, in seconds since 1970, and ``size`` the bytes of its record. ``blobs`` are
    the digests it refers to, those of the files of a tree too; None when the record cannot be read.
    """

    key: str
    used: float
    size: int
    blobs: frozenset[str] | None


@dataclass(frozen=True)
class Inventory:
    """The contents of a store. ``blobs`` and ``quarantined`` map names to sizes in bytes."""

    blobs: Mapping[str, int]
    records: Sequence[Record]
    quarantined: Mapping[str, int]

    @property
    def size(self) -> int:
        """The bytes of all blobs and records."""
        return sum(self.blobs.values()) + sum(record.size for record in self.records)

    def referred(self, keys: Collection[str]) -> set[str]:
        """The blobs that are there and that the results of these keys refer to."""
        digests = {digest for record in self.records if record.key in keys for digest in record.blobs or ()}
        return digests & self.blobs.keys()


def take_inventory(store: Path) -> Inventory:
    """List a store. Nothing is changed, and what goes meanwhile is left out. A folder that is not there is an empty store."""
    if not (store / "blobs").is_dir():
        return Inventory({}, [], {})
    content, actions = ContentStore(store), ActionCache(store / "actions")
    # Records first: the blobs of a result that is added meanwhile came before it.
    records = []
    for name, stat in _files(store / "actions"):
        key, _, kind = name.partition(".")
        if key and kind == "json":
            result = actions.get(key)
            records.append(Record(key, stat.st_mtime, stat.st_size, None if result is None else _blobs(content, result)))
    blobs = {name: stat.st_size for name, stat in _files(store / "blobs")}
    quarantined = {name: stat.st_size for name, stat in _scan(store / "quarantine")}
    return Inventory(blobs, records, quarantined)


def _blobs(content: ContentStore, result: Result) -> frozenset[str]:
    digests = set()
    for output in result.outputs.values():
        digests.add(output.digest)
        if output.tree:
            digests.update(entry.digest for entry in content.tree(output.digest) or ())
    return frozenset(digests)


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The files in the folders in a folder, such as ``ab/abcdef...``, with their stats."""
    for each in sorted(folder.iterdir()):
        yield from _scan(each)


def _scan(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    yield entry.name, entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
    except (FileNotFoundError, NotADirectoryError):
        return
