"""The record of a release: every digest that it is made of, as ``release.json`` has it.

A JSON object with ``format``, ``label``, ``reference`` (registry, repository and tag), ``digest`` (of the manifest there), ``lock``
(the SHA-256 of build.lock), ``signed`` (the tags of the signatures), and ``targets``: for the image, the statements about it, and
all that they are made of, by label, the action ``key``, the ``class`` that `doit verify` found ("locked" of one that is taken as it is
locked, null where nothing is known) and the ``outputs``, each with ``path`` and ``sha256``. No times and no machines: releasing
the same again writes the same file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from enginewright.execute.build import Build
from enginewright.execute.locked import sha256_of
from enginewright.graph.label import Label
from enginewright.release.lock import Lock
from enginewright.store.content import ContentStore
from enginewright.store.digest import Entry, encode_tree
from enginewright.store.results import Output
from enginewright.store.strong import StrongDigests

FORMAT = 1

_NO_RECORD = "is not the record of a release, as doit release writes it"


def targets_of(root: Path, store: Path, build: Build, labels: Iterable[Label], lock: Lock) -> dict[str, Any]:
    """What the record says of targets that are up to date in the workspace at ``root``. Raises OSError."""
    content, strong = ContentStore(store), StrongDigests(store / "strong")
    found: dict[str, Any] = {}
    for label in labels:
        action = build.graph.targets[label].action
        if action is None:
            continue
        key = build.last_key(label)
        record = build.record(key)
        outputs = {}
        for name, artifact in action.outputs.items():
            if name not in action.previous:
                known = record.outputs.get(name) if record else None
                digest = _strong(root / artifact.path, known, content, strong) if known else sha256_of(root / artifact.path, artifact.tree)
                outputs[name] = {"path": artifact.path, "sha256": digest}
        verified = build.reproducibilities.get(key)
        reproducible = "locked" if str(label) in lock.outputs else verified.reproducible if verified else None
        found[str(label)] = {"key": key, "class": reproducible, "outputs": outputs}
    return found


def _strong(path: Path, output: Output, content: ContentStore, strong: StrongDigests) -> str:
    """The SHA-256 of an output, of a folder that of its listing, without reading again what was read before."""
    try:
        if not output.tree:
            return strong.of(output.digest, path)[0]
        entries = content.tree(output.digest)
        if entries is not None:
            listed = [Entry(each.path, each.executable, strong.of(each.digest, path / each.path)[0]) for each in entries]
            return hashlib.sha256(encode_tree(listed)).hexdigest()
    except ValueError:  # what is in place is not what the record says: the record is of a result that gave way to what is locked
        pass
    return sha256_of(path, output.tree)


def render(label: Label, reference: str, digest: str, lock: bytes, signed: Iterable[str], targets: Mapping[str, Any]) -> str:
    """The text of the file."""
    about = {"format": FORMAT, "label": str(label), "reference": reference, "digest": digest, "signed": sorted(signed)}
    return json.dumps({**about, "lock": hashlib.sha256(lock).hexdigest(), "targets": targets}, indent=1, sort_keys=True) + "\n"


def read(path: Path) -> dict[str, Any]:
    """A record of a release. Raises OSError, and ValueError, with a sentence, for a file that is none."""
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{_NO_RECORD}: it is no JSON ({error})") from None
    if not isinstance(data, dict):
        raise ValueError(f"{_NO_RECORD}: it is no JSON object")
    if isinstance(data.get("format"), int) and data["format"] != FORMAT:
        raise ValueError(f"is of format {data['format']!r}, and this version reads format {FORMAT}")
    for name, kind in {"format": int, "label": str, "reference": str, "digest": str, "lock": str, "targets": dict}.items():
        if not isinstance(data.get(name), kind):
            raise ValueError(f"{_NO_RECORD}: its {name} is {json.dumps(data[name])[:80] if name in data else 'missing'}")
    try:
        Label.parse(data["label"])
    except ValueError as error:
        raise ValueError(f"{_NO_RECORD}: {error}") from None
    for label, target in data["targets"].items():
        outputs = target.get("outputs") if isinstance(target, dict) else None
        if not isinstance(outputs, dict) or not all(map(_is_output, outputs.values())):
            raise ValueError(f"{_NO_RECORD}: of the target {label} it does not say path and sha256 of each output")
    return data


def _is_output(told: Any) -> bool:
    return isinstance(told, dict) and all(isinstance(told.get(name), str) for name in ("path", "sha256"))
