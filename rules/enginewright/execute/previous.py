"""What an action's last result offers to its next run: the outputs that it lists in ``previous``, as inputs outside the key."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from enginewright.execute.local import Input
from enginewright.graph.action import Action, Artifact
from enginewright.store.content import ContentStore
from enginewright.store.results import Result


@contextmanager
def offering(action: Action, last: Result | None, store: ContentStore, staging: Path) -> Iterator[tuple[Action, dict[str, Input]]]:
    """The action with what its last result offers, if there is one, and that by input name; it lies below ``staging`` in the context."""
    if last is None:
        yield action, {}
        return
    with tempfile.TemporaryDirectory(dir=staging) as folder:
        offered = {}
        for name in action.previous:
            place = Path(folder, name)
            if name in last.outputs and store.place(last.outputs[name].digest, place, staging):
                offered[f"previous/{name}"] = Input(place, last.outputs[name].digest)
        artifacts = {name: Artifact(f"{action.outputs[name.partition('/')[2]].path}.previous") for name in offered}
        yield replace(action, inputs={**action.inputs, **artifacts}), offered
