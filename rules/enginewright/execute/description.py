"""An action as a file, for the machine that runs it: all that its key covers, and how its process is to be started.

The file lies in the action's input root, so a remote executor's digest of an action covers all that the action key does. What the
run took comes back in a second file beside the outputs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from enginewright.graph.action import Action, Artifact, WarmUp
from enginewright.graph.key import Material
from enginewright.graph.label import Label

FOLDER = ".enginewright"
DESCRIPTION = f"{FOLDER}/action.json"
RECORD = f"{FOLDER}/record.json"
"""Paths below the input root; no target can have an output there."""

FAILED, REFUSED = 10, 11
"""Exit codes of `enginewright.execute.run_action`: the action itself failed; this machine is not the one that its key names."""

FORMAT = 1


class Described(NamedTuple):
    """What a description holds. ``digests`` of the inputs are those of the local store, XXH3-128."""

    label: Label
    action: Action
    material: Material


def describe(label: Label, action: Action, material: Material) -> bytes:
    """The description of an action whose key covers ``material``: canonical JSON, the same on every machine."""
    data = {
        "environment": action.environment,
        "format": FORMAT,
        "label": str(label),
        "material": vars(material),
        "packages": action.packages,
        "trees": sorted(name for name, artifact in action.inputs.items() if artifact.tree),
        "warm_up": action.warm_up,
    }
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def read_description(data: bytes) -> Described:
    """What `describe` wrote. Raises ValueError for anything else, of a later version above all."""
    try:
        found = json.loads(data)
        if found["format"] != FORMAT:
            raise ValueError(f"the action's description has format {found['format']!r}, and this version of Enginewright reads {FORMAT}")
        material = Material(**{**found["material"], "inputs": {name: tuple(each) for name, each in found["material"]["inputs"].items()}})
        trees, warm_up = frozenset(found["trees"]), found["warm_up"]
        action = Action(
            mnemonic=material.mnemonic,
            run=material.run,
            inputs={name: Artifact(path, name in trees) for name, (path, _) in material.inputs.items()},
            outputs=_outputs(material),
            params=material.params,
            packages=tuple(found["packages"]),
            requires=material.requires,
            environment=tuple(found["environment"]),
            warm_up=None if warm_up is None else WarmUp(warm_up[0], tuple(warm_up[1])),
        )
        return Described(Label.parse(found["label"]), action, material)
    except (KeyError, TypeError, AttributeError, IndexError) as problem:
        raise ValueError(f"this is no action's description: {type(problem).__name__}: {problem}") from None


def _outputs(material: Material) -> Mapping[str, Artifact]:
    return {name: Artifact(path.rstrip("/"), path.endswith("/")) for name, path in material.outputs.items()}


class Record(NamedTuple):
    """What a run took, on which machine: ``started`` in seconds since 1970, ``seconds`` of wall time, ``peak_rss`` in bytes."""

    started: float
    seconds: float
    peak_rss: int
    host: str
    gpu: str
    sandbox: str


def write_record(record: Record) -> bytes:
    """A record as the file beside the outputs."""
    return json.dumps(record._asdict(), sort_keys=True).encode()


def read_record(data: bytes) -> Record:
    """What `write_record` wrote. Raises ValueError for anything else."""
    try:
        found: dict[str, Any] = json.loads(data)
        return Record(**{name: kind(found[name]) for name, kind in _KINDS.items()})
    except (KeyError, TypeError, AttributeError) as problem:
        raise ValueError(f"this is no record of a run: {type(problem).__name__}: {problem}") from None


_KINDS: Mapping[str, Any] = {"started": float, "seconds": float, "peak_rss": int, "host": str, "gpu": str, "sandbox": str}
