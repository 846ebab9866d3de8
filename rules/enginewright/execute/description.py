"""An action as a file, for the machine that runs it: all that its key covers, and how its process is to be started.

The file lies in the action's input root, so a remote executor's digest of an action covers all that the action key does. What the
run took comes back in a second file beside the outputs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from enginewright.graph.action import Action, Artifact, WarmUp
from enginewright.graph.key import Material
from enginewright.graph.label import Label
from enginewright.store.content import ContentStore
from enginewright.store.digest import Entry
from enginewright.store.results import Output
from enginewright.store.strong import StrongDigests

FOLDER = ".enginewright"
DESCRIPTION = f"{FOLDER}/action.json"
RECORD = f"{FOLDER}/record.json"
"""Paths below the input root; no target can have an output there."""

FAILED, REFUSED = 10, 11
"""Exit codes of `enginewright.execute.run_action`: the action itself failed; this machine is not the one that its key names."""

FORMAT = 1


class Described(NamedTuple):
    """What a description holds. The digests of the inputs are those of the local store, XXH3-128; ``offered`` are the outputs of the
    target's last run that lie there, too."""

    label: Label
    action: Action
    material: Material
    offered: tuple[str, ...] = ()


def describe(label: Label, action: Action, material: Material, offered: Iterable[str] = ()) -> bytes:
    """The description of an action whose key covers ``material``: canonical JSON, the same on every machine."""
    data = {
        "environment": action.environment,
        **({"offered": sorted(offered)} if offered else {}),
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
        offered = tuple(found.get("offered", ()))
        if not action.outputs.keys() >= set(offered):
            raise ValueError(f"this is no action's description: none of its outputs is one of {offered}")
        return Described(Label.parse(found["label"]), action, material, offered)
    except (KeyError, TypeError, AttributeError, IndexError) as problem:
        raise ValueError(f"this is no action's description: {type(problem).__name__}: {problem}") from None


def _outputs(material: Material) -> Mapping[str, Artifact]:
    return {name: Artifact(path.rstrip("/"), path.endswith("/")) for name, path in material.outputs.items()}


class Stored(NamedTuple):
    """A file of an output: its path below it (empty for an output that is a file), and how it is named here and beyond.

    ``digest`` is its XXH3-128, ``strong`` its SHA-256, ``size`` in bytes.
    """

    path: str
    executable: bool
    digest: str
    strong: str
    size: int


class Record(NamedTuple):
    """What a run took, on which machine, and what came out: ``started`` in seconds since 1970, ``seconds`` of wall time, ``peak_rss`` in
    bytes; the files of each output, by its name."""

    started: float
    seconds: float
    peak_rss: int
    host: str
    gpu: str
    sandbox: str
    outputs: Mapping[str, Sequence[Stored]]


def write_record(record: Record) -> bytes:
    """A record as the file beside the outputs."""
    return json.dumps(record._asdict(), sort_keys=True, separators=(",", ":")).encode()


def read_record(data: bytes) -> Record:
    """What `write_record` wrote. Raises ValueError for anything else."""
    try:
        found: dict[str, Any] = json.loads(data)
        outputs = {name: [_stored(*each) for each in files] for name, files in found["outputs"].items()}
        return Record(**{name: kind(found[name]) for name, kind in _KINDS.items()}, outputs=outputs)
    except (KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise ValueError(f"this is no record of a run: {type(problem).__name__}: {problem}") from None


def stored_outputs(store: ContentStore, known: StrongDigests, outputs: Mapping[str, Output]) -> dict[str, list[Stored]]:
    """The files of a result's outputs, with their digests. Raises OSError and ValueError for what is not in the store as it should be."""
    found = {}
    for name, output in outputs.items():
        entries = store.tree(output.digest) if output.tree else [Entry("", False, output.digest)]
        if entries is None:
            raise ValueError(f"the store has lost {output.path}")
        found[name] = [Stored(*each, *known.of(each.digest, store.path(each.digest))) for each in entries]
    return found


_KINDS: Mapping[str, Any] = {"started": float, "seconds": float, "peak_rss": int, "host": str, "gpu": str, "sandbox": str}


def _stored(path: str, executable: bool, digest: str, strong: str, size: int) -> Stored:
    if not re.fullmatch("[0-9a-f]{32}", digest) or not re.fullmatch("[0-9a-f]{64}", strong) or type(size) is not int or size < 0:
        raise ValueError(f"this is no record of a run: {path!r} has no digests")
    parts = path.split("/")
    if path and ("\0" in path or any(part in ("", ".", "..") for part in parts)):
        raise ValueError(f"this is no record of a run: {path!r} is no path below an output")
    return Stored(path, bool(executable), digest, strong, size)
