"""The settings of what is beyond this machine: all of them, checked, before anything is connected to.

Light imports only: a build with nothing to do has the options on its command line checked by this, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidDodoFile

from enginewright.errors import WorkspaceError
from enginewright.workspace.executor import ExecutorSettings, read_executor_settings
from enginewright.workspace.shared_cache import CacheSettings, read_cache_settings


def read_remote(root: Path, table: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[ExecutorSettings, CacheSettings]:
    """The settings of the workspace at ``root``, whose table of the remote is ``table``. ``options`` are those of the command line.

    Raises WorkspaceError, saying where what is wrong.
    """
    executor = read_executor_settings(root, table, os.environ, options)
    # An executor is a cache, too, of what it has made, and of what builds make themselves.
    cache = read_cache_settings(root, table, os.environ, options, executor.url)
    for url in filter(None, {executor.url, cache.url}):
        from enginewright.remote.address import parse

        parse(url)
    if executor.execution != ExecutorSettings.execution:
        from enginewright.execute.elsewhere import read_choice

        try:
            read_choice(executor.execution)
        except ValueError as error:
            raise WorkspaceError(f"remote-execution: {error}") from None
    return executor, cache


def check_given(root: Path, options: Mapping[str, Any]) -> None:
    """Have doit report what is wrong with the options and variables of a build that has no use for them, as of any other."""
    try:
        read_remote(root, {}, options)
    except WorkspaceError as error:
        raise InvalidDodoFile(str(error)) from None
