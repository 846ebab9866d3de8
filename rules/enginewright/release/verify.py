"""Building a target again, apart from all that was built before, and comparing."""

from __future__ import annotations

import functools
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from enginewright.compare.artifacts import Means, compare_outputs
from enginewright.compare.verdict import CLASSES, Comparison, worst
from enginewright.errors import ActionError
from enginewright.execute.build import Build
from enginewright.execute.local import Executor
from enginewright.execute.platform import gpus
from enginewright.graph.label import Label
from enginewright.model.tolerance import Tolerance
from enginewright.store.content import ContentStore
from enginewright.store.reproducibility import Reproducibilities, Reproducibility
from enginewright.store.results import Result

if TYPE_CHECKING:
    from enginewright.model.samples import Sample

_ENGINES = Tolerance(cosine=0.999)
"""What two engines of one model may differ by: what fp16() allows, as it is in half precision that other kernels differ."""


@dataclass(frozen=True)
class Verified:
    """What building a target again came to: its class, what differed by output name, and how many seconds the action took."""

    label: Label
    key: str
    reproducible: str
    differences: Mapping[str, Comparison]
    seconds: float


def verify(build: Build, label: Label, executor: Executor, store: ContentStore, log: Path) -> Verified:
    """Run the action of a target that is up to date again, with its store apart, and compare with what is in place.

    Raises what `Executor.run` does, and ActionError when it is no longer up to date.
    """
    target = build.graph.targets[label]
    assert target.action is not None
    with build.again(label, executor, log) as result, _laid_out(store, result) as made:
        if result.key != build.last_key(label):
            raise ActionError("is not what it was built as: an input changed meanwhile; run it again")
        recorded = build.record(result.key)
        known = {name: each.digest for name, each in recorded.outputs.items()} if recorded else {}
        unlike = [name for name, each in result.outputs.items() if known.get(name) != each.digest]
        differences = {}
        if unlike:
            first = {name: Path(artifact.path) for name, artifact in target.action.outputs.items()}
            differences = compare_outputs(first, made, _means(build, label))
    # What is offered to the next run is a measurement, which is never the same twice, and no part of what the target is.
    counted = (each.reproducible for name, each in differences.items() if name not in target.action.previous)
    return Verified(label, result.key, worst(counted), differences, result.seconds)


def keep(records: Reproducibilities, found: Verified) -> Reproducibility:
    """Add what was found to the records of the store, and return what is known of the target's action now."""
    known = records.get(found.key)
    worse = known is None or CLASSES.index(found.reproducible) > CLASSES.index(known.reproducible)
    differences = {name: as_json(each) for name, each in found.differences.items()}
    new = Reproducibility(found.key, str(found.label), found.reproducible, differences, time.time(), socket.gethostname())
    return records.put(new, worse)


def as_json(compared: Comparison) -> dict[str, object]:
    """A comparison as plain values."""
    return {
        "class": compared.reproducible,
        "basis": compared.basis,
        "findings": [{"where": each.where, "what": each.what} for each in compared.findings],
    }


@contextmanager
def _laid_out(store: ContentStore, result: Result) -> Iterator[dict[str, Path]]:
    """The outputs of a result as files, and folders of links, in a store."""
    with tempfile.TemporaryDirectory(dir=store.scratch) as folder:
        made = {}
        for number, (name, output) in enumerate(result.outputs.items()):
            made[name] = store.path(output.digest)
            if output.tree:
                made[name] = Path(folder, str(number))
                made[name].mkdir()
                for entry in store.tree(output.digest) or ():
                    place = made[name] / entry.path
                    place.parent.mkdir(parents=True, exist_ok=True)
                    os.symlink(store.path(entry.digest).resolve(), place)
        yield made


def _means(build: Build, label: Label) -> Means:
    action = build.graph.targets[label].action
    assert action is not None
    gate = action.params.get("gate")
    declared = gate.get("tolerance") if isinstance(gate, Mapping) else None
    allowed = Tolerance(**declared) if isinstance(declared, Mapping) else _ENGINES  # type: ignore[arg-type]
    return Means(functools.partial(_samples, build, label), allowed, gpus())


def _samples(build: Build, label: Label) -> Sequence[Sample]:
    """Those of the nearest reference among a target's own outputs and those of what it depends on; none where there is none."""
    from enginewright.model.reference import read_reference

    waiting, seen = [label], {label}
    while waiting:
        each = waiting.pop(0)
        action = build.graph.targets[each].action
        if action is not None and "reference" in action.outputs:
            return read_reference(Path(action.outputs["reference"].path)).samples
        new = [dep for dep in build.graph.deps[each] if dep not in seen]
        seen.update(new)
        waiting += new
    return ()
