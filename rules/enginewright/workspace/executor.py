"""The settings of the remote executor.

Each may stand in ``[tool.enginewright.remote]`` in pyproject.toml, and, but for tables and lists, in the environment as
``ENGINEWRIGHT_REMOTE_NAME`` and on the command line as ``--remote-NAME``; the later of these wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enginewright.errors import WorkspaceError
from enginewright.workspace.shared_cache import given

EXECUTOR_NAMES = ("executor", "execution", "jobs", "timeout", "queue-timeout", "properties", "workers")
"""The settings of ``[tool.enginewright.remote]`` that are read here."""

_WHERE = "pyproject.toml: [tool.enginewright.remote]"


@dataclass(frozen=True)
class ExecutorSettings:
    """``url`` is empty for no executor; ``execution`` says which actions it is for (`enginewright.execute.elsewhere.read_choice`).

    ``jobs`` is how many actions may be under way there at once; ``timeout`` for how many seconds each may run, ``queue_timeout`` for how
    many it may wait for a worker; None leaves it to the executor. ``properties`` are platform properties of all actions, ``workers``
    files that describe the workers, as ``python -m enginewright.execute.run_action --describe`` writes them.
    """

    url: str = ""
    execution: str = "auto"
    jobs: int = 64
    timeout: float | None = None
    queue_timeout: float | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    workers: tuple[Path, ...] = ()


def read_executor_settings(
    root: Path, table: Mapping[str, Any], environ: Mapping[str, str], options: Mapping[str, Any]
) -> ExecutorSettings:
    """The settings of the workspace at ``root``, whose table of the remote is ``table``. ``options`` are those of the command line,
    as `given` has them. Raises WorkspaceError, saying where what is wrong.
    """

    def find(name: str) -> tuple[Any, str]:
        """The value of a setting, and where it was found."""
        return given(name, environ, options) or (table.get(name), f"{_WHERE} {name}")

    def text(name: str, default: str) -> str:
        value, where = find(name)
        if value is not None and not isinstance(value, str):
            raise WorkspaceError(f"{where}: expected a string, got {value!r}")
        return value or default

    url, where = text("executor", ""), find("executor")[1]
    if url and not url.startswith(("grpc://", "grpcs://")):
        scheme = url.partition("://")[0] if "://" in url else url  # the rest may hold what is not to be shown
        raise WorkspaceError(f"{where}: expected grpc://HOST:PORT[/INSTANCE] or grpcs://..., got {scheme}")
    properties, workers = table.get("properties", {}), table.get("workers", [])
    if not isinstance(properties, dict) or not all(isinstance(each, str) for each in properties.values()):
        raise WorkspaceError(
            f"{_WHERE} properties: expected a table of strings, as {{container-image = 'docker://...'}}, got {properties!r}"
        )
    if not isinstance(workers, list) or not all(isinstance(each, str) for each in workers):
        raise WorkspaceError(f"{_WHERE} workers: expected a list of files, as ['workers/h100.json'], got {workers!r}")
    return ExecutorSettings(
        url=url,
        execution=text("execution", "auto"),
        jobs=int(_positive(*find("jobs"), least=1) or 64),
        timeout=_positive(*find("timeout")),
        queue_timeout=_positive(*find("queue-timeout")),
        properties=properties,
        workers=tuple(root / each for each in workers),
    )


def _positive(value: Any, where: str, least: float = 1e-9) -> float | None:
    if value is None:
        return None
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not least <= number < 1e9:
        raise WorkspaceError(f"{where}: expected a number greater than 0, got {value!r}")
    return number
