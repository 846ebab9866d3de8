"""Settings: the ``[tool.enginewright]`` table of the workspace's pyproject.toml, and the environment, which wins."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enginewright.errors import WorkspaceError
from enginewright.graph.attributes import did_you_mean
from enginewright.workspace.executor import EXECUTOR_NAMES
from enginewright.workspace.shared_cache import NAMES
from enginewright.workspace.toml import read_toml


@dataclass(frozen=True)
class Settings:
    """``packages``: glob patterns of the folders that may hold a BUILD.py. ``store``: where blobs and results are kept.

    ``compression`` is that of layers whose declaration names none, and ``epoch`` the date of what is built, in seconds since 1970.
    ``remote`` is the table of what is beyond this machine: `enginewright.workspace.shared_cache` and
    `enginewright.workspace.executor` read it.
    """

    packages: tuple[str, ...]
    store: Path
    compression: str = "none"
    epoch: int = 0
    remote: Mapping[str, Any] = field(default_factory=dict)


def read_settings(root: Path) -> Settings:
    """The settings of the workspace at ``root``. Raises WorkspaceError for an unknown name or a wrong type."""
    path = root / "pyproject.toml"
    try:
        table = read_toml(path.read_text(encoding="utf-8")).get("tool", {}).get("enginewright", {})
    except FileNotFoundError:
        table = {}
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"{path.name}: {error}") from None
    if not isinstance(table, dict):
        raise WorkspaceError("pyproject.toml: [tool.enginewright]: expected a table")
    known = ("packages", "store", "compression", "remote")
    for name in table:
        if name not in known:
            raise WorkspaceError(f"pyproject.toml: [tool.enginewright] has no setting {name!r}{did_you_mean(name, known)}")
    packages = table.get("packages", ["models/*", "images/*"])
    if not isinstance(packages, list) or not all(isinstance(each, str) for each in packages):
        raise WorkspaceError("pyproject.toml: [tool.enginewright] packages: expected a list of glob patterns, such as ['models/*']")
    store = table.get("store", "")
    if not isinstance(store, str) or "\0" in store:
        raise WorkspaceError("pyproject.toml: [tool.enginewright] store: expected a folder, as a string")
    compression = table.get("compression", "none")
    if not isinstance(compression, str):
        raise WorkspaceError("pyproject.toml: [tool.enginewright] compression: expected a string, such as 'zstd'")
    compression = os.environ.get("ENGINEWRIGHT_COMPRESSION") or compression
    try:
        folder = _store(root, os.environ.get("ENGINEWRIGHT_STORE") or store)
        return Settings(tuple(packages), folder, compression, _epoch(), _remote(table.get("remote", {})))
    except RuntimeError as error:  # no HOME, and a user without an entry in the password database, as in many containers
        raise WorkspaceError(f"the folder of the store cannot be told: {error} Set ENGINEWRIGHT_STORE") from None


def _remote(table: object) -> Mapping[str, Any]:
    if not isinstance(table, dict):
        raise WorkspaceError("pyproject.toml: [tool.enginewright.remote]: expected a table")
    known = (*NAMES, *EXECUTOR_NAMES)
    for name in table:
        if name not in known:
            raise WorkspaceError(f"pyproject.toml: [tool.enginewright.remote] has no setting {name!r}{did_you_mean(name, known)}")
    return table


def _epoch() -> int:
    """SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch/); 0 where it is not set."""
    given = os.environ.get("SOURCE_DATE_EPOCH") or "0"
    # 11 octal digits are what the header of a tar archive has for it: up to the year 2242.
    if not re.fullmatch(r"[0-9]{1,10}", given) or int(given) >= 8**11:
        raise WorkspaceError(f"SOURCE_DATE_EPOCH={given}: expected seconds since 1970, such as that of 'git log -1 --format=%ct'")
    return int(given)


def _store(root: Path, given: str) -> Path:
    if given:
        return root / Path(given).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "enginewright"
