"""The lock: what a workspace's targets are made from, and the bytes of those that cannot be made again. No input or output.

``build.lock`` is TOML, sorted, with a line for each thing, so that a change of one is one line of a review, and changes of two merge::

    format = 1

    [sources]
    "dist://some-weights/model.pth" = "sha256:..."

    [bases]
    "images/app:debian" = "debian:bookworm-slim@sha256:..."

    [platforms]
    any = "linux-x86_64-cpython-3.11.2"

    [toolchains.any]
    torch = "2.13.0"

    [outputs."models/minilm:engine_sm_90"]
    class = "none"
    key = "..."
    recipe = "..."
    files.engine = {sha256 = "...", size = 1234, xxh3 = "..."}

``sources`` are those that a BUILD.py pins or takes from outside the workspace; the rest is Git's. ``bases`` are the images that others
are built on, by the label of their oci_base(). ``platforms`` and ``toolchains`` are the system, processor and Python, and the versions
of the distributions, that actions run with: ``any`` of those that run on any machine, ``sm_90`` of those that need a GPU of that
architecture, which another machine knows. ``outputs`` are targets that do not come out the same when they are built twice: how near they
come (``class``), the action key, its recipe (`enginewright.graph.key.Material.recipe`), and each output by its SHA-256, its size in
bytes, and the XXH3-128 by which the store has it. A folder's digests are those of its listing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from enginewright.workspace.toml import quoted, read_toml

FILE = "build.lock"
"""Its name in the workspace's folder."""

FORMAT = 1

ADVICE = "restore it from Git, or remove it and run doit lock"
"""What to do about a file that is no lock."""

ANY = "any"
"""The name of the toolchain of actions that run on any machine; the others go by the GPU they need."""

_HEAD = """\
# What is built here is made from this and from the files in Git, and from nothing else, when it is built with `doit build --locked`.
# `doit lock` writes this file; after a merge, run it again.
"""
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_XXH3 = re.compile(r"[0-9a-f]{32}")


class Locked(NamedTuple):
    """One output: SHA-256 and XXH3-128 as hexadecimal digits, of a folder those of its listing; bytes; whether it is a folder."""

    sha256: str
    size: int
    xxh3: str
    tree: bool = False


@dataclass(frozen=True)
class Pinned:
    """A target whose outputs are taken as they are. ``reproducible`` is ``numerical`` or ``none``; ``files`` go by output name."""

    reproducible: str
    key: str
    recipe: str
    files: Mapping[str, Locked]


@dataclass(frozen=True)
class Lock:
    """What the file holds; the names are the file's. ``sources`` have values such as ``sha256:...``, ``outputs`` go by label."""

    sources: Mapping[str, str] = field(default_factory=dict)
    bases: Mapping[str, str] = field(default_factory=dict)
    platforms: Mapping[str, str] = field(default_factory=dict)
    toolchains: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    outputs: Mapping[str, Pinned] = field(default_factory=dict)


class Difference(NamedTuple):
    """One thing that is not as it was locked.

    ``kind`` is "source", "base", "platform", "distribution" or "output", ``locked`` and ``found`` are texts, empty where there is nothing.
    ``group`` names the toolchain of a platform or a distribution.
    """

    kind: str
    name: str
    locked: str
    found: str
    group: str = ""


def differences(lock: Lock, found: Lock) -> list[Difference]:
    """What of ``found`` is not in ``lock``, or otherwise; what only the lock has is no difference."""
    result = [Difference("source", *each) for each in _unlike(lock.sources, found.sources)]
    result += [Difference("base", *each) for each in _unlike(lock.bases, found.bases)]
    for group, platform in sorted(found.platforms.items()):
        result += [Difference("platform", *each, group) for each in _unlike({group: lock.platforms.get(group, "")}, {group: platform})]
    for group, versions in sorted(found.toolchains.items()):
        result += [Difference("distribution", *each, group) for each in _unlike(lock.toolchains.get(group, {}), versions)]
    locked, there = ({label: _in_short(each) for label, each in side.outputs.items()} for side in (lock, found))
    return result + [Difference("output", *each) for each in _unlike(locked, there)]


def superfluous(lock: Lock, found: Lock) -> list[Difference]:
    """What only the lock has, given all that a workspace has."""
    result = [Difference("source", *each, "") for each in _only(lock.sources, found.sources)]
    result += [Difference("base", *each, "") for each in _only(lock.bases, found.bases)]
    for group, versions in sorted(lock.toolchains.items()):
        result += [Difference("distribution", *each, "", group) for each in _only(versions, found.toolchains.get(group, {}))]
    locked = {label: _in_short(each) for label, each in lock.outputs.items()}
    return result + [Difference("output", *each, "") for each in _only(locked, found.outputs)]


def _only(locked: Mapping[str, str], found: Collection[str]) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, value in sorted(locked.items()) if name not in found)


def updated(lock: Lock, found: Lock) -> Lock:
    """The lock with what was found in the place of what it had, and the rest as it was."""
    groups = sorted({*lock.toolchains, *found.toolchains})
    return Lock(
        sources={**lock.sources, **found.sources},
        bases={**lock.bases, **found.bases},
        platforms={**lock.platforms, **found.platforms},
        toolchains={group: {**lock.toolchains.get(group, {}), **found.toolchains.get(group, {})} for group in groups},
        outputs={**lock.outputs, **found.outputs},
    )


def _unlike(locked: Mapping[str, str], found: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for name, value in sorted(found.items()):
        if locked.get(name, "") != value:
            yield name, locked.get(name, ""), value


def _in_short(pinned: Pinned) -> str:
    return ", ".join(f"{name} sha256:{each.sha256}" for name, each in sorted(pinned.files.items())) + f" by recipe {pinned.recipe}"


def render(lock: Lock) -> str:
    """The text of the file: the same for the same lock. Raises ValueError for a name that is not Unicode."""
    parts = [f"{_HEAD}\nformat = {FORMAT}\n", *(_table(name, _strings(getattr(lock, name))) for name in ("sources", "bases", "platforms"))]
    parts += [_table(f"toolchains.{_key(group)}", _strings(versions)) for group, versions in sorted(lock.toolchains.items())]
    parts += [_table(f"outputs.{_key(label)}", _pinned(each)) for label, each in sorted(lock.outputs.items())]
    return "\n".join(part for part in parts if part)


def line_of(text: str, difference: Difference) -> int:
    """The number of the line of a file that says what is locked, from 1; 0 where none does."""
    tables = {"source": "sources", "base": "bases", "platform": "platforms", "distribution": f"toolchains.{_key(difference.group)}"}
    wanted, table = f"{_key(difference.name)} = ", ""
    for number, line in enumerate(text.splitlines(), 1):
        table = line.strip("[]") if line.startswith("[") else table
        if table == tables.get(difference.kind) and line.startswith(wanted):
            return number
    return 0


def _table(name: str, lines: Iterable[str]) -> str:
    text = "".join(f"{line}\n" for line in lines)
    return f"[{name}]\n{text}" if text else ""


def _strings(values: Mapping[str, str]) -> Iterator[str]:
    return (f"{_key(name)} = {quoted(value)}" for name, value in sorted(values.items()))


def _pinned(pinned: Pinned) -> Iterator[str]:
    yield f"class = {quoted(pinned.reproducible)}"
    yield f"key = {quoted(pinned.key)}"
    yield f"recipe = {quoted(pinned.recipe)}"
    for name, each in sorted(pinned.files.items()):
        tree = ", tree = true" if each.tree else ""
        yield f"files.{_key(name)} = {{sha256 = {quoted(each.sha256)}, size = {each.size}, xxh3 = {quoted(each.xxh3)}{tree}}}"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else quoted(name)


def parse(text: str) -> Lock:
    """The lock in a text. Raises ValueError, with a sentence that says what is wrong and what to do."""
    if re.search(r"^(<{7}|>{7}) ", text, re.MULTILINE):
        raise ValueError("holds a merge that Git could not finish: take either side, and run doit lock")
    try:
        data = read_toml(text)
    except ValueError as error:
        raise ValueError(f"is not TOML ({error}): {ADVICE}") from None
    found = data.pop("format", None)
    if found != FORMAT:
        raise ValueError(f"is of format {found!r}, and this version reads format {FORMAT}: {ADVICE}")
    try:
        lock = Lock(
            sources=_strings_of("sources", data.pop("sources", {})),
            bases=_strings_of("bases", data.pop("bases", {})),
            platforms=_strings_of("platforms", data.pop("platforms", {})),
            toolchains={
                group: _strings_of(f"toolchains.{group}", each)
                for group, each in _entries_of("toolchains", data.pop("toolchains", {})).items()
            },
            outputs={label: _read_pinned(label, each) for label, each in _entries_of("outputs", data.pop("outputs", {})).items()},
        )
        if data:
            raise ValueError(f"there is no table {min(data)!r}")
    except ValueError as error:
        raise ValueError(f"is not a lock ({error}): {ADVICE}") from None
    return lock


def _entries_of(where: str, table: Any) -> Mapping[str, Any]:
    if not isinstance(table, dict):
        raise ValueError(f"{where}: expected a table, got {table!r}")
    return table


def _strings_of(where: str, table: Any) -> dict[str, str]:
    for name, value in _entries_of(where, table).items():
        if not isinstance(value, str):
            raise ValueError(f"{where}: {name}: expected a string, got {value!r}")
    return dict(table)


def _read_pinned(label: str, table: Any) -> Pinned:
    fields = dict(_entries_of(label, table))
    files = {
        name: _read_locked(f"{label}: files.{name}", each) for name, each in _entries_of(f"{label}: files", fields.pop("files", {})).items()
    }
    strings = _strings_of(label, fields)
    if strings.keys() != {"class", "key", "recipe"}:
        raise ValueError(f"{label}: expected class, key, recipe and files, got {', '.join(table)}")
    return Pinned(strings["class"], strings["key"], strings["recipe"], files)


def _read_locked(where: str, table: Any) -> Locked:
    fields = {"tree": False, **_entries_of(where, table)}
    sha256, size, xxh3, tree = (fields.pop(name, None) for name in Locked._fields)
    known = _SHA256.fullmatch(str(sha256)) and _XXH3.fullmatch(str(xxh3)) and type(size) is int and type(tree) is bool
    if not known or fields:
        raise ValueError(f"{where}: expected sha256, size and xxh3 of a file, got {dict(table)}")
    return Locked(str(sha256), size, str(xxh3), tree)
