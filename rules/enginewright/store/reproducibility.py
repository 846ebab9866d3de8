"""What came of building results again: for each action key a record, beside the store's results."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from enginewright.store.files import write_atomically

_FORMAT = 1

_CLASSES = ("bit", "numerical", "none")


@dataclass(frozen=True)
class Reproducibility:
    """How near a target's action comes to its result when it runs again.

    ``reproducible`` is the worst class found in ``runs`` runs: "bit", "numerical" or "none"; ``differences`` is what differed then, by
    output name, as plain values. ``checked`` is when it was last looked at, in seconds since 1970, and ``host`` where.
    """

    key: str
    label: str
    reproducible: str
    differences: Mapping[str, Any]
    checked: float
    host: str
    runs: int = 1


class Reproducibilities:
    """The records below ``reproducibility/`` of a store."""

    def __init__(self, store: Path) -> None:
        self.folder = store / "reproducibility"

    def get(self, key: str) -> Reproducibility | None:
        """The record of an action key, or None. One that cannot be read counts as none."""
        try:
            data = json.loads(self.path(key).read_bytes())
            found = Reproducibility(**data) if data.pop("format") == _FORMAT else None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        right = found is not None and found.key == key and found.reproducible in _CLASSES and type(found.runs) is int
        return found if right else None

    def keys(self) -> set[str]:
        """The action keys there are records of."""
        with suppress(FileNotFoundError):
            return {name.removesuffix(".json") for name in os.listdir(self.folder) if name.endswith(".json") and name[0] != "."}
        return set()

    def put(self, found: Reproducibility, worse: bool) -> Reproducibility:
        """Add what a run found to the record of its key, and return that; ``worse`` says that it is worse than what the record has."""
        known = self.get(found.key)
        if known is not None:
            told = found if worse else known
            found = replace(told, checked=found.checked, host=found.host, runs=known.runs + 1)
        self.folder.mkdir(exist_ok=True)
        write_atomically(self.path(found.key), json.dumps({**vars(found), "format": _FORMAT}, sort_keys=True).encode() + b"\n")
        return found

    def drop(self, key: str) -> None:
        """Forget the record of a key, if there is one."""
        self.path(key).unlink(missing_ok=True)

    def path(self, key: str) -> Path:
        """Where the record of this key is, or would be."""
        return self.folder / f"{key}.json"
