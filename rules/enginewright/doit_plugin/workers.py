"""Which workers a remote executor has for the targets of a workspace, and what these are."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from enginewright.doit_plugin.remote_settings import read_remote
from enginewright.doit_plugin.session import open_build
from enginewright.doit_plugin.shared_cache import access_of
from enginewright.errors import ActionError, WorkspaceError
from enginewright.execute.elsewhere import Machine, read_choice, read_machine
from enginewright.execute.installation import Installation
from enginewright.execute.placement import Placement
from enginewright.execute.platform import host_platform
from enginewright.workspace.executor import ExecutorSettings
from enginewright.workspace.settings import read_settings
from enginewright.workspace.shared_cache import CacheSettings

if TYPE_CHECKING:
    from enginewright.execute.probe import Found
    from enginewright.remote.adapter import Adapter
    from enginewright.remote.checks import Step
    from enginewright.remote.execution import Execution

_PATIENCE = 10.0
"""Seconds to wait for a worker, unless a user says otherwise."""


class Wanted(NamedTuple):
    """Platform properties, and the distributions that the actions import which ask for a worker with them; ``gpu`` is what they need.

    ``used`` says whether any of these actions is for the executor.
    """

    properties: Mapping[str, str]
    packages: frozenset[str]
    gpu: str = ""
    used: bool = True

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.properties.items()) or "any worker"


def wanted_workers(root: Path, settings: ExecutorSettings) -> list[Wanted]:
    """What the targets of the workspace ask for, those without requirements first."""
    from enginewright.execute.sharing import platform_properties

    found: dict[tuple[tuple[str, str], ...], Wanted] = {}
    choice, here = read_choice(settings.execution), Placement(Installation(), None, look_only=True)
    for target in open_build(root, look_only=True).graph.targets.values():
        if target.action is not None:
            properties = platform_properties(target.action.requires, settings.properties)
            key = tuple(sorted(properties.items()))
            before = found.get(key, Wanted({}, frozenset(), used=False))
            packages = before.packages | frozenset(target.action.packages)
            used = before.used or choice.wants(target.label, target.action, here.unmet_here(target))
            found[key] = Wanted(properties, packages, target.action.requires.get("gpu", ""), used)
    return [found[key] for key in sorted(found)]


def worker_steps(root: Path, params: Mapping[str, Any]) -> Iterator[Step]:
    """Try the remote executor of the workspace at ``root``, and a worker of each kind that its targets ask for; nothing without one."""
    settings, cache = read_remote(root, read_settings(root).remote, params)
    if not settings.url:
        return
    from enginewright.remote.checks import Step
    from enginewright.remote.errors import RemoteError

    with _connected(settings, cache) as (execution, storage):
        began = time.monotonic()
        try:
            execution.check()
        except RemoteError as error:
            yield Step("executor", False, str(error), time.monotonic() - began)
            return
        yield Step("executor", True, f"{settings.url} runs actions, {settings.execution}", time.monotonic() - began)

        def ask(wanted: Wanted) -> Step:
            if not wanted.used:
                return Step("worker", None, f"{wanted}: not tried: with execution {settings.execution} no action asks for one")
            began = time.monotonic()
            try:
                text, good = _tell(settings, wanted, _probe(execution, storage, settings, wanted))
            except (RemoteError, ActionError) as error:
                text, good = str(error), False
            return Step("worker", good, f"{wanted}: {text}", time.monotonic() - began)

        with ThreadPoolExecutor(8) as pool:
            yield from pool.map(ask, wanted_workers(root, settings))


def describe_worker(root: Path, params: Mapping[str, Any], properties: Mapping[str, str]) -> str:
    """What a worker with these platform properties says of itself, and of all distributions that actions import which ask for it.

    Raises WorkspaceError when there is no executor, or no such worker.
    """
    from enginewright.remote.errors import RemoteError

    settings, cache = read_remote(root, read_settings(root).remote, params)
    if not settings.url:
        raise WorkspaceError(
            "no remote executor is set up: give --remote-executor=URL, set ENGINEWRIGHT_REMOTE_EXECUTOR, or write"
            ' executor = "URL" below [tool.enginewright.remote] in pyproject.toml (docs/workers.md)'
        )
    asked = {**settings.properties, **properties}
    packages = frozenset[str]().union(*(each.packages for each in wanted_workers(root, settings) if each.properties == asked))
    with _connected(settings, cache) as (execution, storage):
        try:
            execution.check()
            return _probe(execution, storage, settings, Wanted(asked, packages)).text
        except (RemoteError, ActionError) as error:
            raise WorkspaceError(f"{Wanted(asked, packages)}: {error}") from None


@contextmanager
def _connected(settings: ExecutorSettings, cache: CacheSettings) -> Iterator[tuple[Execution, Adapter]]:
    from enginewright.doit_plugin.executor import storage_of
    from enginewright.remote.address import parse
    from enginewright.remote.channel import Connection
    from enginewright.remote.connect import adapter_for
    from enginewright.remote.execution import Execution

    access = access_of(cache)
    execution = Execution(Connection(parse(settings.url), access, cache.timeout))
    storage = adapter_for(storage_of(settings, cache), access, cache.timeout)
    try:
        yield execution, storage
    finally:
        execution.close()
        storage.close()


def _probe(execution: Execution, storage: Adapter, settings: ExecutorSettings, wanted: Wanted) -> Found:
    from enginewright.execute.probe import probe

    return probe(execution, storage, wanted.properties, wanted.packages, settings.queue_timeout or _PATIENCE)


def _tell(settings: ExecutorSettings, wanted: Wanted, found: Found) -> tuple[str, bool]:
    """What a worker is, and whether it would run the actions that ask for it."""
    from enginewright.execute.probe import differences

    shown = f"{found.worker} on {found.host}, GPU: {', '.join(found.machine.gpus) or 'none'}"
    if wanted.gpu and wanted.gpu not in found.machine.gpus:
        return f"{shown}: it has no {wanted.gpu}, which its platform properties promise", False
    if wrong := differences(found.machine, _expected(settings, wanted)):
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        return f"{shown}: {'; '.join(wrong[:4])}{more}: install the same versions, or describe the workers (docs/workers.md)", False
    return f"{shown}, toolchain as in keys", True


def _expected(settings: ExecutorSettings, wanted: Wanted) -> Machine:
    """What the keys of actions that ask for such a worker name."""
    machines = [read_machine(path) for path in settings.workers]
    fitting = next((each for each in machines if not wanted.gpu or wanted.gpu in each.gpus), None)
    if fitting is not None:
        return fitting._replace(toolchains={name: fitting.toolchains.get(name, {}) for name in wanted.packages})
    installation, toolchains = Installation(), {}
    for name in wanted.packages:
        try:
            toolchains[name] = installation.toolchain((name,)).versions
        except LookupError:
            toolchains[name] = {}
    return Machine(host_platform(), toolchains)
