"""Inputs that the build itself writes: how a target came about, and what day it is.

An action sees nothing but its inputs, and its key covers nothing else. So what it is to know of the build comes to it as a file like any
other: the lineage of a target is the part of the records of all that led to it that is the same wherever it is built, with no times and
no names of machines, and everything in it is named by SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import xxhash

from enginewright.graph.action import LINEAGE, TODAY, Action, Artifact
from enginewright.graph.dag import Graph, Target
from enginewright.graph.key import Material
from enginewright.graph.label import Label
from enginewright.store.digest import file_digests, tree_files
from enginewright.store.files import write_atomically
from enginewright.store.reproducibility import Reproducibilities
from enginewright.store.results import ActionCache
from enginewright.store.snapshot import Snapshot
from enginewright.workspace.sources import locate

FORMAT = 1


def is_dated(action: Action | None) -> bool:
    """Whether an action reads what day it is: then no build can take it for up to date without a look."""
    return action is not None and any(artifact.origin == TODAY for artifact in action.inputs.values())


class Written:
    """Writes such inputs below ``state``, for a workspace at ``root``.

    ``done`` says whether a target is made, and ``material`` computes what its key covers, for one whose record the store has lost.
    """

    def __init__(
        self,
        root: Path,
        state: Path,
        graph: Graph,
        snapshot: Snapshot,
        actions: ActionCache,
        reproducibilities: Reproducibilities,
        done: Callable[[Label], bool],
        material: Callable[[Target], Material],
    ) -> None:
        self._root = root
        self._folder = state / "written"
        self._graph = graph
        self._snapshot = snapshot
        self._actions = actions
        self._reproducibilities = reproducibilities
        self._done = done
        self._material = material
        self._digests = _Digests(state / "sha256.json")
        self._lock = threading.Lock()

    def write(self, artifact: Artifact, look_only: bool = False) -> tuple[Path, str]:
        """Where an artifact with such an origin lies, and its digest; with ``look_only`` it is not written. Raises OSError.

        The digest of a lineage is empty while something that it tells of is yet to be made.
        """
        path = self._folder / artifact.path
        with self._lock:
            if artifact.origin == TODAY:
                data = self._today()
            else:
                label = Label.parse(artifact.origin.removeprefix(LINEAGE))
                if not all(self._done(each) and (each in self._graph.groups or self._key(each)) for each in self._graph.closure([label])):
                    return path, ""
                data = self._lineage(label)
            if not look_only and (not path.exists() or path.read_bytes() != data):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, data)
            if not look_only:
                self._digests.save()
        return path, xxhash.xxh3_128_hexdigest(data)

    def _today(self) -> bytes:
        return datetime.now(timezone.utc).strftime("%Y-%m-%d\n").encode()

    def _lineage(self, label: Label) -> bytes:
        """The document: the targets that led to one, each after those it depends on, and it itself last."""
        targets = [self._target(each) for each in self._graph.closure([label]) if each not in self._graph.groups]
        document = {"format": FORMAT, "enginewright": metadata.version("enginewright"), "label": str(label), "targets": targets}
        return json.dumps(document, sort_keys=True, indent=1).encode() + b"\n"

    def _key(self, label: Label) -> str:
        """The key of the result of a target; empty for one that was skipped."""
        built = self._snapshot.target(str(label))
        return built.key if built else ""

    def _target(self, label: Label) -> dict[str, Any]:
        target = self._graph.targets[label]
        action, built = target.action, self._snapshot.target(str(label))
        assert action is not None and built is not None
        record = self._actions.get(built.key)
        material = record.material if record else vars(self._material(target))
        # What `doit verify` found is no source and no output: that there is something new shows by its file.
        self._snapshot.watch([str(self._reproducibilities.path(built.key))])
        proven = self._reproducibilities.get(built.key)
        return {
            "label": str(label),
            "rule": target.kind,
            "attributes": dict(target.attributes),
            "declared": target.location.path,
            "mnemonic": material["mnemonic"],
            "key": built.key,
            "reproducible": proven.reproducible if proven else "",
            "params": material["params"],
            "requires": material["requires"],
            "platform": material["platform"],
            "toolchain": material["toolchain"],
            "code": hashlib.sha256(json.dumps(material["code"], sort_keys=True).encode()).hexdigest(),
            "inputs": {name: self._input(target, artifact) for name, artifact in sorted(action.inputs.items())},
            "outputs": {
                name: self._output(artifact, built.outputs[name])
                for name, artifact in sorted(action.outputs.items())
                if name not in action.previous
            },
        }

    def _input(self, target: Target, artifact: Artifact) -> dict[str, Any]:
        for dep in target.deps:
            made = self._graph.targets[dep].action
            for name, output in made.outputs.items() if made else ():
                if output.path == artifact.path:
                    return {"target": str(dep), "output": name}
        if artifact.written:
            return {"written": artifact.origin}
        path = locate(self._root, artifact)
        digest = self._snapshot.digest(str(path) if artifact.origin else artifact.path) or ""
        found = {"source": artifact.origin or artifact.path, **self._digests.of(path, digest)}
        if artifact.origin.startswith("dist://"):
            found |= _distribution(artifact.origin)
        return found

    def _output(self, artifact: Artifact, digest: str) -> dict[str, Any]:
        path = self._root / artifact.path
        if not artifact.tree:
            return {"path": artifact.path, **self._digests.of(path, digest)}
        files = {name: self._digests.of(file, self._snapshot.digest(f"{artifact.path}/{name}") or "") for name, file in tree_files(path)}
        return {"path": artifact.path, "files": files}


def _distribution(origin: str) -> dict[str, Any]:
    """What the distribution that a source is taken from says of itself."""
    name = origin.removeprefix("dist://").partition("/")[0]
    about: Any = metadata.metadata(name)
    licence = about.get("License-Expression") or about.get("License") or ""
    if licence in ("", "UNKNOWN") or "\n" in licence:  # the whole text, in some
        licence = next((line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or () if line.startswith("License ::")), "")
    return {"distribution": name, "version": metadata.version(name), "licence": licence}


class _Digests:
    """SHA-256s by XXH3-128, kept in a file: of what was read once, the other digest need not be computed again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] | None = None
        self._saved = 0

    def of(self, path: Path, digest: str) -> Mapping[str, Any]:
        """SHA-256 and size in bytes of a file that has this XXH3-128. Raises OSError, and for a file that has another."""
        if self._known is None:
            self._known = self._load()
            self._saved = len(self._known)
        if digest not in self._known:
            fast, strong = file_digests(path)
            if fast != digest:
                raise OSError(f"{path} changed while it was read: build again")
            self._known[digest] = {"sha256": strong, "size": path.stat().st_size}
        return self._known[digest]

    def save(self) -> None:
        """Keep what was learnt. The file carries a checksum: a damaged one is as good as none."""
        if self._known is not None and len(self._known) != self._saved:
            body = json.dumps(self._known, sort_keys=True)
            write_atomically(self._path, json.dumps({"check": xxhash.xxh3_64_hexdigest(body.encode()), "digests": body}).encode())
            self._saved = len(self._known)

    def _load(self) -> dict[str, dict[str, Any]]:
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            data = json.loads(self._path.read_bytes())
            if xxhash.xxh3_64_hexdigest(data["digests"].encode()) == data["check"]:
                return dict(json.loads(data["digests"]))
        return {}
