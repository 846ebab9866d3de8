"""The local executor: an action in a fresh process, in a sandbox that holds only its declared inputs."""

from __future__ import annotations

import functools
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from enginewright.errors import ActionError, WorkspaceError
from enginewright.execute.guard import Policy
from enginewright.execute.installation import SOURCE_ROOT, Installation
from enginewright.execute.isolation import NAMESPACE, Isolation, choose
from enginewright.execute.missing import end_of, undeclared_in
from enginewright.execute.sandbox import Sandbox, Sandboxes
from enginewright.execute.spawn import Input, Spawn
from enginewright.execute.workers import Kind, Workers
from enginewright.graph.action import LIGHT, Action, WarmUp
from enginewright.graph.label import Label
from enginewright.store.content import ContentStore
from enginewright.store.digest import Stat, file_digest, tree_digest, tree_files
from enginewright.store.lock import shared
from enginewright.store.results import Output, Result


class Executor:
    """Runs actions on this machine. ``workspace`` is the workspace's folder; outputs go into ``store``.

    Actions see nothing of the store, nor of the folder ``beside`` when the store lies in that.
    """

    def __init__(
        self,
        workspace: Path,
        store: ContentStore,
        installation: Installation,
        workers: Workers | None = None,
        beside: Path | None = None,
    ) -> None:
        self._workspace = workspace
        self._beside = beside or store.root
        self._store = store
        self._installation = installation
        self._workers = workers or Workers()
        self._made_sandboxes: Sandboxes | None = None
        self._making_sandboxes = threading.Lock()

    @functools.cached_property
    def isolation(self) -> Isolation:
        """What enforces the sandbox, found out when it is first asked for; raises WorkspaceError as `isolation.choose` does."""
        return choose(self._hidden, [os.path.realpath(self._store.scratch)])

    @functools.cached_property
    def _hidden(self) -> list[str]:
        return [os.path.realpath(self._workspace), os.path.realpath(self._beside)]

    @functools.cached_property
    def _runtime(self) -> Mapping[str, str]:
        """The folders of the interpreter, its libraries and this package, as named, and as resolved.

        Not a folder that the workspace lies in, as below /usr with the system's Python: all its files could be read then.
        """
        workspace = Path(self._hidden[0])
        folders = {sys.prefix, sys.base_prefix, str(SOURCE_ROOT), *(path for path in sys.path if "site-packages" in path)}
        resolved = {folder: os.path.realpath(folder) for folder in sorted(folders)}
        return {name: real for name, real in resolved.items() if not workspace.is_relative_to(name) and not workspace.is_relative_to(real)}

    @property
    def _sandboxes(self) -> Sandboxes:
        with self._making_sandboxes:
            if self._made_sandboxes is None:
                self._made_sandboxes = Sandboxes(Path(os.path.realpath(self._store.scratch)))
            return self._made_sandboxes

    def _kind(self, warm_up: WarmUp | None, network: bool, gpu: bool = False) -> Kind:
        namespaced = self.isolation.name == NAMESPACE
        if warm_up is None:
            return Kind("", frozenset(), namespaced, network, gpu, fresh=True)
        return Kind(warm_up.run, self._installation.toolchain(warm_up.packages).modules, namespaced, network, gpu)

    def get_ready(self) -> None:
        """Have the processes that most actions are forked from start up while there is still something else to do."""
        with suppress(WorkspaceError):  # it is raised again if anything runs
            self._workers.start(self._kind(LIGHT, network=False))

    @contextmanager
    def run(self, spawn: Spawn, log: Path) -> Iterator[Result]:
        """Run an action and store its outputs, which nobody takes out of the store before the context is left.

        Raises ActionError with the reason when it fails, reads what it did not declare, leaves out an output, writes
        something else, or one of its inputs changes meanwhile; WorkspaceError as `isolation` does. What it prints goes to ``log``.
        """
        action, inputs = spawn.whole.action, spawn.whole.inputs
        isolation = self.isolation
        started, clock = time.time(), time.monotonic()
        with self._sandboxes.take() as sandbox:
            before = {name: _stats(each.location) for name, each in inputs.items()}
            sandbox.stage(action, {name: each.location for name, each in inputs.items()})
            reply = self._work(spawn.label, action, inputs, sandbox, log)
            for name, each in inputs.items():
                if _changed(each, before[name]):
                    raise ActionError(f"its input {action.inputs[name].path} changed while it ran: the result was thrown away; build again")
            sandbox.refuse_strays(action)
            try:
                sandbox.take_in_links(action, [each.location for each in inputs.values()])
            except RecursionError:
                raise ActionError("made folders in its outputs that are nested too deeply to be stored") from None
            with shared(self._store.root):
                outputs = self._collect(sandbox.root, action, inputs)
                yield Result(
                    key=spawn.key, label=str(spawn.label), material=vars(spawn.material), outputs=outputs, started=started,
                    seconds=time.monotonic() - clock, peak_rss=reply["peak_rss"], host=socket.gethostname(), sandbox=isolation.name,
                )  # fmt: skip

    def stop(self) -> None:
        """Kill what runs, and start nothing more."""
        self._workers.stop()

    def close(self) -> None:
        """Remove the sandboxes' folders, once nothing runs any more."""
        if self._made_sandboxes is not None:
            self._made_sandboxes.close()

    def _work(self, label: Label, action: Action, inputs: Mapping[str, Input], sandbox: Sandbox, log: Path) -> dict[str, Any]:
        located = {str(each.location): os.path.realpath(each.location) for each in inputs.values()}
        policy = Policy(
            workspace=self._hidden[0],
            sandbox=tuple(map(str, sandbox.places)),
            root=str(sandbox.root),
            package=label.package,
            declared=frozenset(located.values()),
            runtime=tuple(sorted({*self._runtime, *self._runtime.values()})),
            modules=self._installation.toolchain(action.packages).modules,
            network="network" in action.requires,
        )
        namespaced = self.isolation.name == NAMESPACE
        visible = {**self._runtime, **located}
        job = {
            "run": action.run,
            "inputs": {name: artifact.path for name, artifact in action.inputs.items()},
            "outputs": {name: artifact.path for name, artifact in action.outputs.items()},
            "params": action.params,
            "home": str(sandbox.home),
            "tmp": str(sandbox.tmp),
            "environment": {name: os.environ[name] for name in action.environment if name in os.environ},
            "policy": {**vars(policy), "declared": sorted(policy.declared), "modules": sorted(policy.modules)},
            "namespace": {"hidden": self._hidden, "visible": visible, "writable": policy.sandbox} if namespaced else None,
        }
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "wb") as printed:
            reply = self._workers.run(job, printed, self._kind(action.warm_up, policy.network, "gpu" in action.requires))
        if reply["error"] is not None:
            raise ActionError("\n".join([reply["error"], *undeclared_in((reply["error"], end_of(log)), policy)]))
        return reply

    def _collect(self, root: Path, action: Action, inputs: Mapping[str, Input]) -> dict[str, Output]:
        known: dict[tuple[int, int], str] = {}
        outputs = {}
        for artifact in action.outputs.values():
            _check_output(root, artifact.path, artifact.tree)
        if any(artifact.tree for artifact in action.outputs.values()):
            known = {(s.st_dev, s.st_ino): digest for each in inputs.values() for digest, s in self._files_of(each)}
        for name, artifact in action.outputs.items():
            path = root / artifact.path
            if artifact.tree:
                size = sum(file.stat().st_size for _, file in tree_files(path))
                outputs[name] = Output(artifact.path, self._store.add_tree(path, known), size, tree=True)
            else:
                size, digest = path.stat().st_size, file_digest(path)
                self._store.add_file(path, digest)
                outputs[name] = Output(artifact.path, digest, size)
        return outputs

    def _files_of(self, each: Input) -> Iterator[tuple[str, os.stat_result]]:
        """The files of an input, those of a tree by its listing in the store, if it is there: their digests and stats."""
        found = os.stat(each.location)
        if stat.S_ISREG(found.st_mode):
            yield each.digest, found
        for entry in (self._store.tree(each.digest) or ()) if stat.S_ISDIR(found.st_mode) else ():
            yield entry.digest, os.stat(each.location / entry.path)


def _check_output(root: Path, name: str, tree: bool) -> None:
    path = root / name
    if path.is_symlink():
        raise ActionError(f"made its output {name} a symbolic link (to {os.readlink(path)}): write the file itself")
    if not path.exists():
        raise ActionError(f"did not write its output {name}")
    if not (path.is_dir() or path.is_file()):  # to read a pipe would be to wait
        raise ActionError(f"made its output {name} a pipe, a socket or a device: write a {'folder' if tree else 'file'}")
    if path.is_dir() != tree:
        raise ActionError(
            f"made its output {name} a {'folder' if path.is_dir() else 'file'}; it is declared as a {'folder' if tree else 'file'}"
        )
    if tree:
        try:
            tree_files(path)
        except ValueError as error:
            raise ActionError(f"its output {name} holds what cannot be stored: {error}; write files and folders only") from None


def _stats(path: Path) -> tuple[Stat, ...]:
    """The stat of a file, or of each file of a tree."""
    files = [file for _, file in tree_files(path)] if path.is_dir() else [path]
    return tuple(Stat.of(os.stat(file)) for file in files)


def _changed(each: Input, before: tuple[Stat, ...]) -> bool:
    """Whether an input has other bytes than it had. Only its stat may have moved: linking a file moves its ctime."""
    try:
        if _stats(each.location) == before:
            return False
        return (tree_digest if each.location.is_dir() else file_digest)(each.location) != each.digest
    except (OSError, ValueError):
        return True  # it is gone, or no longer what it was
