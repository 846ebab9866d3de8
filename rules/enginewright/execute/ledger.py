"""The ledger: what each of the last builds of a workspace did, and why it had to, for all that explains, predicts or reports.

``ledger.jsonl`` is JSON Lines, one line for each `doit build` that ran, restored or failed something, oldest first::

    {"format": 1, "id": "20261123T050102Z-4711", "started": 1795410062.1, "seconds": 3.2, "args": ["models/minilm"],
     "host": "desk", "processes": 2, "tables": {"code": {...}, "toolchain": {...}}, "targets": {"models/minilm:onnx": {...}}}

``id`` is the start in UTC and the process; ``started`` is in seconds since 1970, ``seconds`` is what the build took, ``args`` are
the labels it was given, ``processes`` is how many actions could run at a time. ``targets`` holds what was not simply up to
date, in the order in which it ended::

    {"status": "built" | "cached" | "failed" | "skipped", "key": "32 hex digits", "previous": "the key it had before, or empty",
     "began": 0.1, "ended": 2.9, "worker": 0, "peak_rss": 123, "sandbox": "audit", "reason": "",
     "material": {"mnemonic": ..., "run": ..., "params": {...}, "requires": {...}, "inputs": {name: [path, digest]},
                  "outputs": {name: path}, "platform": ..., "format": 1, "code": DIGEST, "toolchain": DIGEST}}

``began`` and ``ended`` are seconds since the build's start. ``worker`` is the lowest number that nothing else had meanwhile.
``peak_rss`` is in bytes, and 0, as ``sandbox`` is empty, for an action that did not run or gave no result. ``reason`` says why
something failed or was skipped, and of what was built or cached what its material does not tell: that it was forgotten, that
outputs were missing, that the store had lost the result. ``material`` is what the key covers
(`enginewright.graph.key.Material`), null for what was skipped; its ``code`` and ``toolchain`` are digests that ``tables``
resolves: ``{digest: {module: digest}}`` and ``{digest: {distribution: version}}``, each table once a line. What was skipped has
``deps`` instead, the labels it depends on, if any.

The first line may be the base, into which older builds were folded: it has the ``id`` "" and holds the last entry of each target
that was not skipped, with one name more, ``build``, the id of its build. So folding the lines up to a build gives the state
that the build left.

A line counts once its newline is written; the next append cuts off what a killed process or a full disk left after the last.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from enginewright.execute.memory import STATE
from enginewright.graph.encoding import encode
from enginewright.graph.key import Material
from enginewright.store.files import write_atomically
from enginewright.store.results import Result

LEDGER = f"{STATE}/ledger.jsonl"
"""The ledger's path in the workspace."""

FORMAT = 1

KEPT = 50
"""How many builds are kept, besides the base."""

_FOLDED_AT = 100
"""The number of lines at which all but the last ``KEPT`` are folded, so that most appends only append."""


@dataclass(frozen=True)
class Entry:
    """What one build did about one target; the names are those of the file. ``build`` is the id of the build."""

    status: str
    key: str = ""
    previous: str = ""
    began: float = 0.0
    ended: float = 0.0
    worker: int = 0
    peak_rss: int = 0
    sandbox: str = ""
    reason: str = ""
    material: Material | None = None
    build: str = ""
    deps: Sequence[str] = ()


@dataclass(frozen=True)
class Line:
    """One build; the names are those of the file. The base has the id ""."""

    id: str
    started: float
    seconds: float
    args: Sequence[str]
    host: str
    processes: int
    targets: Mapping[str, Entry]


class Draft:
    """The line of the build that is under way."""

    def __init__(self) -> None:
        self._started, self._clock = time.time(), time.monotonic()
        self._targets: dict[str, Entry] = {}

    def elapsed(self) -> float:
        """Seconds since the build's start."""
        return time.monotonic() - self._clock

    def enter(
        self,
        label: str,
        status: str,
        key: str,
        material: Material | None,
        previous: str,
        began: float,
        worker: int,
        reason: str,
        result: Result | None,
    ) -> None:
        """Take note of what became of a target just now; the names are those of `Entry`, ``result`` is of an action that ran."""
        peak_rss, sandbox = (result.peak_rss, result.sandbox) if result else (0, "")
        self._targets[label] = Entry(status, key, previous, began, self.elapsed(), worker, peak_rss, sandbox, reason, material)

    def append(self, path: Path, skipped: Mapping[str, tuple[str, Sequence[str]]], args: Sequence[str], processes: int) -> None:
        """Add the line to the ledger, if there was anything to do. Raises OSError.

        ``skipped`` has the reason by label, and the labels of what each depends on.
        """
        if self._targets:
            name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(self._started))}-{os.getpid()}"
            passed = {label: Entry("skipped", reason=reason, deps=deps) for label, (reason, deps) in skipped.items()}
            append(path, Line(name, self._started, self.elapsed(), args, socket.gethostname(), processes, {**self._targets, **passed}))


def append(path: Path, line: Line) -> None:
    """Add a build to the ledger. Only one process at a time may do so. Raises OSError."""
    data = _to_json(line)
    with open(path, "a+b") as file:
        size, lines = _whole_lines(file)
        file.truncate(size)
        file.write(data)
    if lines + 1 >= _FOLDED_AT:
        _fold_file(path)


def read(path: Path) -> list[Line]:
    """The builds in a ledger, oldest first; none when there is no such file. A line that cannot be read is passed over."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return [line for text in data.split(b"\n")[:-1] if (line := _from_json(text)) is not None]


def fold(lines: Iterable[Line]) -> dict[str, Entry]:
    """The last entry of each target that was not skipped, the latest at the end."""
    state: dict[str, Entry] = {}
    for line in lines:
        for label, entry in line.targets.items():
            if entry.status != "skipped":
                state.pop(label, None)
                state[label] = entry
    return state


def state_after(lines: Sequence[Line], build: str) -> dict[str, Entry]:
    """The state that the build of this id left, so far as the ledger still tells: not what was overwritten in the base since."""
    at = next((i for i, line in enumerate(lines) if line.id == build), 0)
    state = list(fold(lines[: at + 1]).items())
    while state and state[-1][1].build != build:
        state.pop()
    return dict(state)


def _whole_lines(file: BinaryIO) -> tuple[int, int]:
    """The number of bytes up to the last newline, and of lines in them."""
    size = lines = offset = 0
    file.seek(0)
    for chunk in iter(partial(file.read, 1 << 20), b""):
        if count := chunk.count(b"\n"):
            size, lines = offset + chunk.rindex(b"\n") + 1, lines + count
        offset += len(chunk)
    return size, lines


def _fold_file(path: Path) -> None:
    texts = path.read_bytes().split(b"\n")[:-1]
    older = [line for text in texts[:-KEPT] if (line := _from_json(text)) is not None]
    base = Line("", 0.0, 0.0, (), "", 0, fold(older))
    write_atomically(path, _to_json(base) + b"".join(text + b"\n" for text in texts[-KEPT:]))


def _to_json(line: Line) -> bytes:
    tables = _Tables()
    targets = {label: _entry_to_json(entry, tables, with_build=not line.id) for label, entry in line.targets.items()}
    head = {"format": FORMAT, **vars(line), "started": round(line.started, 3), "seconds": round(line.seconds, 4)}
    return json.dumps({**head, "targets": targets, "tables": tables.content}, separators=(",", ":")).encode() + b"\n"


def _entry_to_json(entry: Entry, tables: _Tables, with_build: bool) -> dict[str, Any]:
    data: dict[str, Any] = {**vars(entry), "began": round(entry.began, 4), "ended": round(entry.ended, 4)}
    if not with_build:
        del data["build"]
    if not entry.deps:
        del data["deps"]
    if entry.material is not None:
        code, toolchain = tables.add("code", entry.material.code), tables.add("toolchain", entry.material.toolchain)
        data["material"] = {**vars(entry.material), "code": code, "toolchain": toolchain}
    return data


class _Tables:
    """Tables by digest. Most materials share theirs, as objects too, so that a digest is computed but once."""

    def __init__(self) -> None:
        self.content: dict[str, dict[str, Mapping[str, str]]] = {"code": {}, "toolchain": {}}
        self._digests: dict[int, str] = {}

    def add(self, kind: str, table: Mapping[str, str]) -> str:
        if id(table) not in self._digests:
            self._digests[id(table)] = xxhash.xxh3_128_hexdigest(encode(table))
        digest = self._digests[id(table)]
        self.content[kind][digest] = table
        return digest


def _from_json(text: bytes) -> Line | None:
    try:
        data = json.loads(text)
        if data.pop("format") != FORMAT:
            return None
        tables = data.pop("tables")
        targets = {label: _entry_from_json(entry, tables, data["id"]) for label, entry in data.pop("targets").items()}
        return Line(**data, targets=targets)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _entry_from_json(data: dict[str, Any], tables: Mapping[str, Any], build: str) -> Entry:
    found = data.pop("material")
    entry = Entry(**{"build": build, **data})
    if found is None:
        return entry
    resolved = {kind: tables[kind][found[kind]] for kind in ("code", "toolchain")}
    return replace(entry, material=Material(**{**found, **resolved}))
