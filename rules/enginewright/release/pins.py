"""Which results a lock pins: those of targets that would not come out the same when they are built again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from enginewright.compare.verdict import BIT
from enginewright.execute.build import Build
from enginewright.execute.locked import Bytes, Pin, known_to_vary, sha256_of
from enginewright.execute.outcome import Status
from enginewright.graph.label import Label
from enginewright.release.lock import Lock, Locked, Pinned

UNKNOWN = "unknown"
"""The class of what is known to vary, and that `doit verify` was not asked about."""


class Pins(NamedTuple):
    """``pinned`` are results by label; ``missing`` says of targets that should be pinned why they are not."""

    pinned: Mapping[str, Pinned]
    missing: Mapping[Label, str]


def find_pins(root: Path, build: Build, labels: Iterable[Label]) -> Pins:
    """The results to pin of targets that ``build``, which only looks, has judged. Reads their outputs.

    Those are of actions that are `known_to_vary`, unless they were verified to come out the same, and of those that were verified not to.
    """
    pinned: dict[str, Pinned] = {}
    missing: dict[Label, str] = {}
    for label in labels:
        action = build.graph.targets[label].action
        if action is None:
            continue
        key = build.last_key(label)
        found = build.reproducibilities.get(key) if key else None
        reproducible = found.reproducible if found else UNKNOWN if known_to_vary(action) else BIT
        if reproducible == BIT:
            continue
        outcome = build.outcomes.get(label)
        record = build.record(key)
        if outcome is not None and outcome.status is Status.SKIPPED:
            missing[label] = outcome.reason
        elif not build.done(label) or record is None or (outcome is not None and outcome.status is not Status.UP_TO_DATE):
            missing[label] = "is not up to date: doit build first"
        else:
            files = {
                name: Locked(sha256_of(root / each.path, each.tree), each.size, each.digest, each.tree)
                for name, each in record.outputs.items()
            }
            pinned[str(label)] = Pinned(reproducible, key, build.material(label).recipe(), files)
    return Pins(pinned, missing)


def pins_of(lock: Lock) -> dict[str, Pin]:
    """What a lock pins, as a build takes it."""
    return {
        label: Pin(each.key, each.recipe, {name: Bytes(file.xxh3, file.sha256, file.size) for name, file in each.files.items()})
        for label, each in lock.outputs.items()
    }
