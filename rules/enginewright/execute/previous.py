"""What an action's last result offers to its next run: the outputs that it lists in ``previous``, as inputs outside the key."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from enginewright.execute.spawn import Input, Spawn
from enginewright.store.content import ContentStore
from enginewright.store.results import Result


@contextmanager
def offering(spawn: Spawn, last: Result | None, store: ContentStore, staging: Path, fetch: Callable[[str], bool]) -> Iterator[Spawn]:
    """The spawn with what its last result offers, if there is one; that lies below ``staging`` in the context.

    ``fetch`` has the store get what it lacks, by digest, or says that it cannot be had.
    """
    if last is None:
        yield spawn
        return
    with tempfile.TemporaryDirectory(dir=staging) as folder:
        offered = {}
        for name in spawn.action.previous:
            place = Path(folder, name)
            if name in last.outputs:
                digest = last.outputs[name].digest
                if store.place(digest, place, staging) or (fetch(digest) and store.place(digest, place, staging)):
                    offered[name] = Input(place, digest)
        yield replace(spawn, offered=offered)
