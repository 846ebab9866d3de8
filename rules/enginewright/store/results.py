"""The action cache: for each action key, the record of the run that produced its outputs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from enginewright.store.files import write_atomically


@dataclass(frozen=True)
class Output:
    """One output of a result: its workspace path, its digest (a tree's: of its listing), its size in bytes."""

    path: str
    digest: str
    size: int
    tree: bool = False


@dataclass(frozen=True)
class Result:
    """The record of one run of an action, read by everything that explains or reports.

    ``material`` is what its key covers (`enginewright.graph.key.Material` as a dict). ``started`` is in seconds since 1970,
    ``seconds`` is wall time, ``peak_rss`` is in bytes; ``host`` is the machine that ran it, ``sandbox`` names what enforced the
    isolation there. ``executor`` is the remote executor whose worker it was; empty for what was run by a build itself.
    """

    key: str
    label: str
    material: Mapping[str, Any]
    outputs: Mapping[str, Output]
    started: float
    seconds: float
    peak_rss: int
    host: str
    sandbox: str
    executor: str = ""


class ActionCache:
    """Result records below one folder, ``ab/abcdef....json`` for key ``abcdef...``; in ``latest/``, the keys of targets that ask for it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def path(self, key: str) -> Path:
        """Where the record of this key is, or would be."""
        return self._root / key[:2] / f"{key}.json"

    def get(self, key: str) -> Result | None:
        """The result of this key, or None. A record that cannot be read counts as none."""
        try:
            data = json.loads(self.path(key).read_bytes())
            outputs = {name: Output(**output) for name, output in data.pop("outputs").items()}
            result = Result(**data, outputs=outputs)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return result if result.key == key else None

    def use(self, key: str) -> None:
        """Take note, in the time of its record, that the result of this key was used now: what was not used for long goes first."""
        with suppress(OSError):  # it is gone, or the store is another user's
            os.utime(self.path(key))

    def put(self, result: Result) -> None:
        """Record a result, replacing an older one of the same key."""
        path = self.path(result.key)
        path.parent.mkdir(exist_ok=True)
        record = {**vars(result), "outputs": {name: vars(output) for name, output in result.outputs.items()}}
        write_atomically(path, json.dumps(record, sort_keys=True).encode() + b"\n")

    def set_latest(self, target: str, key: str) -> None:
        """Take note that the latest result of a target, which this text names, is that of this key."""
        path = self._latest(target)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, key.encode())

    def latest(self, target: str) -> Result | None:
        """The latest result of a target in any workspace, if it was noted, and is still there."""
        try:
            return self.get(self._latest(target).read_text())
        except (OSError, ValueError):
            return None

    def _latest(self, target: str) -> Path:
        return self._root / "latest" / f"{xxhash.xxh3_128_hexdigest(target.encode())}.key"

    def drop(self, key: str) -> None:
        """Forget the result of this key, if there is one."""
        self.path(key).unlink(missing_ok=True)
