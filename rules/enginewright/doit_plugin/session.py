"""A workspace opened for one command: its settings, its graph, and the build over them."""

from __future__ import annotations

import atexit
import fcntl
import gc
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from doit.dependency import Dependency
from doit.exceptions import InvalidCommand, InvalidDodoFile

from enginewright.doit_plugin.database import Database
from enginewright.doit_plugin.executor import open_elsewhere
from enginewright.doit_plugin.nodes import nodes, skip_ignored
from enginewright.doit_plugin.pipes import aside
from enginewright.doit_plugin.remote_settings import read_remote
from enginewright.doit_plugin.shared_cache import CLAIMS, open_sharing, warn
from enginewright.errors import DeclarationError, WorkspaceError, in_words
from enginewright.execute.build import Build
from enginewright.execute.installation import Installation
from enginewright.execute.memory import STATE, Loaded, open_snapshot, recall, watched_installation
from enginewright.execute.outcome import Outcome, Status
from enginewright.execute.workers import Workers
from enginewright.graph.label import Label
from enginewright.store.snapshot import Snapshot
from enginewright.store.strong import StrongDigests
from enginewright.workspace.settings import Settings, read_settings

if TYPE_CHECKING:
    from enginewright.execute.locked import Pin
    from enginewright.graph.rule import Defaults


def open_build(
    root: Path,
    look_only: bool = False,
    snapshot: Snapshot | None = None,
    processes: int = 1,
    options: Mapping[str, Any] | None = None,
    pins: Mapping[str, Pin] | None = None,
) -> Build:
    """Load and analyse the workspace at ``root``; with ``look_only``, to change nothing in it.

    ``processes`` is how many processors actions may take at once. ``snapshot`` is the workspace's, when it has been opened
    already; it is opened again if another build has replaced it since. ``options`` are those of the command line for what is beyond
    this machine; ``pins`` are the results that a locked build must take. Raises doit's exceptions for what a user got wrong.
    """
    # Tens of thousands of objects are made that stay until the end, and little garbage: Python's default goes through all of it often.
    gc.set_threshold(100_000)
    # At exit, too: it takes as long as all that a small build does.
    atexit.register(gc.freeze)
    with user_errors():
        settings = read_settings(root)
        if snapshot is None or not snapshot.is_current():
            snapshot = open_snapshot(root)
        workers = None
        if not look_only:
            workers = Workers()
            workers.reserve()  # it starts up while the graph is loaded
        loaded = recall(snapshot) or _load(root, settings, snapshot)
        executor, cache = read_remote(root, settings.remote, options or {})
        sharing = None if look_only else open_sharing(root, cache, settings.store, executor)
        elsewhere = open_elsewhere(executor, cache, settings.store, sharing)
        if elsewhere is not None:
            for each in elsewhere.choice.strangers(loaded.graph.targets.values()):
                warn(f"remote-execution: {each}")
        claims = StrongDigests(root / CLAIMS) if look_only and cache.url else None
        given = (root, loaded, settings.store, snapshot, processes, look_only, workers, sharing, cache.download, elsewhere, claims)
        if pins is None:
            return Build(*given)
        from enginewright.execute.locked import LockedBuild

        return LockedBuild(pins, *given)


def _load(root: Path, settings: Settings, snapshot: Snapshot) -> Loaded:
    # Imported here, because a graph that is recalled needs none of it.
    from enginewright.graph.dag import analyse
    from enginewright.workspace.packages import find_packages, load_packages

    found = find_packages(root, settings.packages)
    watched = ["pyproject.toml", *found.watched, *watched_installation()]
    snapshot.watch(watched)

    def watch(folder: str) -> None:
        snapshot.watch([folder])
        watched.append(folder)

    with aside():
        packages = load_packages(root, found.packages, watch)
    graph = analyse(packages, _defaults(settings))
    return Loaded(graph, set(graph.deps), Installation(), watched)


def _defaults(settings: Settings) -> Defaults:
    from enginewright.graph.rule import Defaults
    from enginewright.oci.compression import parse_compression

    try:
        return Defaults(str(parse_compression(settings.compression)), settings.epoch)
    except ValueError as error:
        raise WorkspaceError(f"compression: {error}") from None


def select(build: Build, patterns: Iterable[str]) -> set[Label]:
    """The targets that are meant on a command line, as `Graph.select` finds them."""
    try:
        return build.graph.select(patterns)
    except ValueError as error:
        raise InvalidCommand(str(error)) from None


def foresee(build: Build, labels: Iterable[Label]) -> list[Label]:
    """Judge targets and all they depend on, in a build that only looks, as if it were to run; return those that may have to."""
    with user_errors():
        chosen = list(labels)
        wanted = build.graph.closure(chosen)
        pending = build.pending(wanted, build.graph.unfold(chosen))
        skip_ignored(build, nodes(build, pending), Dependency(Database, f"{STATE}/doit.json"))
        for label, reason in build.blocked(wanted).items():
            build.outcomes[label] = Outcome(label, Status.SKIPPED, reason=reason)
        return [label for label in pending if not build.judge(label)]


@contextmanager
def user_errors() -> Iterator[None]:
    """Let doit report errors in declarations and settings as it reports its own: one message, exit code 3."""
    try:
        yield
    except (DeclarationError, WorkspaceError) as error:
        raise InvalidDodoFile(str(error)) from None
    except OSError as error:
        raise InvalidCommand(in_words(error)) from None


def lock(root: Path) -> IO[str]:
    """Wait until no other build runs in this workspace, saying so. The lock is held until the file returned is closed."""
    with user_errors():
        (root / STATE).mkdir(parents=True, exist_ok=True)
        file = open(root / STATE / "lock", "a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        print(f"waiting for another build in this workspace to end (process {file.read() or 'unknown'})", file=sys.stderr, flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    with suppress(OSError):  # the number is for people only
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), str(os.getpid()).encode())
    return file
