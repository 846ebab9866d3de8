"""What the last build of a workspace found out, so that the next one need not find it out again.

When nothing moved that was looked at then, nothing is to be done; when only sources or outputs moved, the graph need not be
loaded again, and only what depends on them can be stale. This is kept in the snapshot, together with the stats it rests on.
Light imports only: this is all that a build with nothing to do needs.
"""

from __future__ import annotations

import marshal
import os
import site
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from enginewright.store.snapshot import Snapshot

if TYPE_CHECKING:
    from enginewright.execute.installation import Installation
    from enginewright.graph.dag import Graph
    from enginewright.graph.label import Label

STATE = "build/.enginewright"
"""The folder of a workspace's own state: snapshot, logs, lock."""

_FORMAT = 3
_PACKAGE = Path(__file__).resolve().parents[1]


def open_snapshot(root: Path) -> Snapshot:
    """The snapshot of the workspace at ``root``."""
    return Snapshot(root, root / STATE / "snapshot")


def nothing_to_do(snapshot: Snapshot) -> int | None:
    """The number of actions that are up to date when all are, by looking at stats only; None when that cannot be said."""
    memory = _read(snapshot)
    return memory.actions if memory is not None and not memory.unsettled and not snapshot.moved else None


class Loaded(NamedTuple):
    """A workspace as a build finds it.

    Of the targets of ``graph`` only ``suspects`` may be stale. ``installation`` is what actions run with. ``watched`` are the
    files and folders by which a change of the graph shows; None when it was recalled, and they are remembered already.
    """

    graph: Graph
    suspects: set[Label]
    installation: Installation
    watched: Sequence[str] | None


def recall(snapshot: Snapshot) -> Loaded | None:
    """The graph of the last build, or None when the workspace must be loaded again."""
    from enginewright.execute.installation import Installation
    from enginewright.graph.packed import unpack

    memory = _read(snapshot)
    if memory is None or not snapshot.attachment:
        return None
    workspace = _Workspace(*marshal.loads(snapshot.attachment))
    moved = set(snapshot.moved)
    if not moved.isdisjoint(workspace.watched):
        return None
    graph = unpack(workspace.graph)
    labels = list(graph.deps)
    users: dict[str, tuple[int, ...]] = marshal.loads(workspace.users)
    touched = {i for path in moved for each in (path, *_parents(path)) for i in users.get(each, ())}
    suspects = set(graph.dependents(labels[i] for i in touched.union(memory.unsettled)))
    return Loaded(graph, suspects, Installation(marshal.loads(workspace.installation)), None)


def remember(snapshot: Snapshot, loaded: Loaded, unsettled: set[Label], told: Path) -> None:
    """Keep what was loaded, of which ``unsettled`` are not up to date.

    ``told`` is the folder of what is known of results, which lineages tell of.
    """
    graph, watched, installation = loaded.graph, loaded.watched, loaded.installation
    position = {label: i for i, label in enumerate(graph.deps)}
    memory = _Memory(_fingerprint(), tuple(sorted(position[label] for label in unsettled)), len(graph.deps) - len(graph.groups))
    attachment = snapshot.attachment
    if watched is not None:
        from enginewright.graph.packed import pack

        users = _users(graph, position, told)
        snapshot.keep_only({*users, *watched})
        snapshot.keep_only_targets({str(label) for label in graph.deps})
        attachment = _packed(_Workspace(tuple(watched), pack(graph), marshal.dumps(users, 4), marshal.dumps(installation.known)))
    elif installation.grown:
        workspace = _Workspace(*marshal.loads(attachment))
        attachment = _packed(workspace._replace(installation=marshal.dumps(installation.known)))
    snapshot.remember(marshal.dumps(tuple(memory), 4), attachment)


def watched_installation() -> list[str]:
    """What shows, by its stat, that this package or an installed distribution changed.

    A distribution may lie in any folder of the module path: .pth files and PYTHONPATH name some. Only the workspace's own folder,
    which doit puts there, is left out: it changes with every file that comes and goes.
    """
    folders = dict.fromkeys(map(os.path.abspath, [*site.getsitepackages(), *sys.path]))
    return [*(str(path) for path in sorted(_PACKAGE.rglob("*.py"))), *(folder for folder in folders if folder != os.getcwd())]


class _Memory(NamedTuple):
    """What a build with nothing to do needs. The targets that are ``unsettled`` are known by their places in the graph."""

    fingerprint: str
    unsettled: tuple[int, ...]
    actions: int


class _Workspace(NamedTuple):
    """What takes longer to read: `Loaded`, packed, and `_users`."""

    watched: tuple[str, ...]
    graph: bytes
    users: bytes
    installation: bytes


def _packed(workspace: _Workspace) -> bytes:
    return marshal.dumps(tuple(workspace), 4)


def _read(snapshot: Snapshot) -> _Memory | None:
    if not snapshot.memory:
        return None
    fields = marshal.loads(snapshot.memory)
    return _Memory(*fields) if fields[0] == _fingerprint() else None


def _fingerprint() -> str:
    told = [os.environ.get(name, "") for name in ("PYTHONPATH", "ENGINEWRIGHT_COMPRESSION", "SOURCE_DATE_EPOCH")]
    return f"{_FORMAT} {sys.version} {sys.prefix} {_PACKAGE} {told}"


def _users(graph: Graph, position: dict[Label, int], told: Path) -> dict[str, tuple[int, ...]]:
    """Which targets read or write a file: a moved path, or a folder above it, leads to those that may be stale."""
    from enginewright.workspace.sources import locate

    users: dict[str, list[int]] = {}
    made = {artifact.path for target in graph.targets.values() if target.action for artifact in target.action.outputs.values()}
    for label, target in graph.targets.items():
        for artifact in target.action.outputs.values() if target.action else ():
            users.setdefault(artifact.path, []).append(position[label])
        for artifact in target.action.inputs.values() if target.action else ():
            if artifact.written:
                users.setdefault(str(told), []).append(position[label])
                continue
            if artifact.path in made:
                continue
            with suppress(LookupError):  # a distribution that is not installed; that it comes to be is watched
                path = str(locate(Path(), artifact)) if artifact.origin else artifact.path
                users.setdefault(path, []).append(position[label])
    return {path: tuple(each) for path, each in users.items()}


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
