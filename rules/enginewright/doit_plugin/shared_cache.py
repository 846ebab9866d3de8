"""The shared cache that settings and options lead to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from enginewright.errors import WorkspaceError
from enginewright.execute.memory import STATE
from enginewright.workspace.executor import ExecutorSettings
from enginewright.workspace.shared_cache import CacheSettings

if TYPE_CHECKING:
    from enginewright.execute.sharing import Sharing
    from enginewright.remote.address import Access

CLAIMS = f"{STATE}/claims"
"""What a shared cache said of outputs that were left there: the path in the workspace."""


def access_of(settings: CacheSettings) -> Access:
    """What is shown to a server. Raises WorkspaceError."""
    from enginewright.remote.address import Access, read_token

    return Access(settings.ca, settings.certificate, settings.key, read_token(settings.token_file))


def open_sharing(root: Path, settings: CacheSettings, store: Path, executor: ExecutorSettings) -> Sharing | None:
    """The shared cache of these settings, once it was reached; None when there is none, or it is not there, which is said.

    With an ``executor``, whose settings are part of how actions are named, it is waited for when it has much to do. Raises WorkspaceError.
    """
    if not settings.url:
        return None
    from enginewright.remote.address import parse
    from enginewright.remote.cache import SharedCache
    from enginewright.remote.connect import adapter_for
    from enginewright.store.content import ContentStore

    address = parse(settings.url)
    patient = bool(executor.url)
    adapter = adapter_for(address, access_of(settings), settings.timeout, patient)
    cache = SharedCache(adapter, str(address), settings.mode != "write", settings.mode != "read", settings.required, warn, patient)
    cache.reach()
    if cache.lost:
        cache.close()
        return None
    try:
        from enginewright.execute.sharing import Sharing
    except ModuleNotFoundError as error:
        from enginewright.remote.connect import INSTALL

        raise WorkspaceError(f"{address}: the module {error.name!r} is needed, and is not installed: {INSTALL}") from None
    return Sharing(cache, ContentStore(store), root / CLAIMS, executor.properties, executor.timeout)


def warn(text: str) -> None:
    """Tell a user of what a build got over."""
    print(f"WARNING: {text}", file=sys.stderr, flush=True)
