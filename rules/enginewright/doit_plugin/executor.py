"""The remote executor that settings and options lead to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from enginewright.doit_plugin.shared_cache import access_of, warn
from enginewright.execute.elsewhere import Elsewhere, read_choice
from enginewright.workspace.executor import ExecutorSettings
from enginewright.workspace.shared_cache import CacheSettings

if TYPE_CHECKING:
    from enginewright.execute.remote import RemoteExecutor
    from enginewright.execute.sharing import Sharing
    from enginewright.remote.address import Address

_WITH_STORAGE = ("grpc", "grpcs")
"""The shared caches that executors read inputs from, and write outputs to."""


def storage_of(settings: ExecutorSettings, cache: CacheSettings) -> Address:
    """Where an executor takes inputs from and puts outputs: the shared cache, if it can work on it, or else itself."""
    from enginewright.remote.address import parse

    shared = parse(cache.url)
    return shared if shared.scheme in _WITH_STORAGE else parse(settings.url)


def open_elsewhere(settings: ExecutorSettings, cache: CacheSettings, store: Path, sharing: Sharing | None) -> Elsewhere | None:
    """The remote executor of these settings, None when there is none; it is connected to when it is first needed.

    It works on the shared cache ``cache``, which ``sharing`` is when it was reached; one that it cannot work on has it use a storage
    of its own. Raises WorkspaceError.
    """
    if not settings.url:
        return None
    from enginewright.remote.address import parse

    address, shared = parse(settings.url), parse(cache.url)
    shares = storage_of(settings, cache) == shared
    access = access_of(cache)

    def connect() -> RemoteExecutor:
        from enginewright.execute.remote import RemoteExecutor
        from enginewright.remote.channel import Connection
        from enginewright.remote.connect import adapter_for
        from enginewright.remote.execution import Execution
        from enginewright.store.content import ContentStore

        assert sharing is not None
        execution = Execution(Connection(address, access, cache.timeout, patient=True))
        execution.check()
        storage = adapter_for(storage_of(settings, cache), access, cache.timeout, patient=True)
        return RemoteExecutor(
            str(address), execution, storage, ContentStore(store), sharing, shares, settings.properties, settings.timeout,
            settings.queue_timeout, warn,
        )  # fmt: skip

    behind = "" if shared == address else f"the remote cache {shared}, on which "
    problem = "" if sharing is not None else f"{behind}{address}{' works,' if behind else ''} is not there"
    choice = read_choice(settings.execution)
    return Elsewhere(str(address), connect, choice, settings.workers, settings.jobs, shares, cache.required, warn, problem)
