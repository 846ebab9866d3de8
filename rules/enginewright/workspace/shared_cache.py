"""The settings of a cache that is shared with other machines.

Each may stand in ``[tool.enginewright.remote]`` in pyproject.toml, in the environment as ``ENGINEWRIGHT_REMOTE_NAME``, and on the command
line as ``--remote-NAME``; the later of these wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginewright.errors import WorkspaceError

MODES = ("read", "write", "read-write")
DOWNLOADS = ("all", "toplevel", "minimal")

NAMES = ("cache", "mode", "download", "cache-timeout", "required", "tls-ca", "tls-certificate", "tls-key", "token-file")
"""The settings of ``[tool.enginewright.remote]`` that are read here."""

_WHERE = "pyproject.toml: [tool.enginewright.remote]"


@dataclass(frozen=True)
class CacheSettings:
    """``url`` is empty for no shared cache; ``mode`` says in which direction it is used, ``download`` which outputs are fetched.

    ``timeout`` is how many seconds a short call may take. ``required`` makes trouble with it an error. The files are in PEM format, but
    for ``token_file``.
    """

    url: str = ""
    mode: str = "read-write"
    download: str = "toplevel"
    timeout: float = 10.0
    required: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None


def read_cache_settings(
    root: Path, table: Mapping[str, Any], environ: Mapping[str, str], options: Mapping[str, Any], default: str = ""
) -> CacheSettings:
    """The settings of the workspace at ``root``, whose table of the remote is ``table``. ``options`` are those of the command line,
    as `given` has them. ``default`` is the URL where none is. Raises WorkspaceError, saying where what is wrong.
    """

    def find(name: str, kind: type = str) -> tuple[Any, str]:
        """The value of a setting, and where it was found."""
        if (found := given(name, environ, options)) is not None:
            return found
        value = table.get(name)
        fits = isinstance(value, (int, float) if kind is float else kind) and isinstance(value, bool) == (kind is bool)
        if value is not None and not fits:
            raise WorkspaceError(f"{_WHERE} {name}: expected {'true or false' if kind is bool else f'a {_KINDS[kind]}'}, got {value!r}")
        return value, f"{_WHERE} {name}"

    def choose(name: str, choices: tuple[str, ...], default: str) -> str:
        value, where = find(name)
        if value and value not in choices:
            raise WorkspaceError(f"{where}: expected one of {', '.join(choices)}, got {value!r}")
        return value or default

    def file(name: str) -> Path | None:
        value, where = find(name)
        # One from the command line is relative to the current folder, which is the workspace's then.
        path = root / Path(value).expanduser() if value else None
        if path is not None and not path.is_file():
            raise WorkspaceError(f"{where}: there is no file {path}")
        return path

    url = find("cache")[0] or default
    return CacheSettings(
        url=url,
        mode=choose("mode", MODES, "read-write"),
        download=choose("download", DOWNLOADS, "toplevel"),
        timeout=_seconds(*find("cache-timeout", float)),
        required=_truth(*find("required", bool)),
        ca=file("tls-ca"),
        certificate=file("tls-certificate"),
        key=file("tls-key"),
        token_file=file("token-file"),
    )


def given(name: str, environ: Mapping[str, str], options: Mapping[str, Any]) -> tuple[Any, str] | None:
    """What the command line, or else the environment, has for a setting of the remote, and where; None for nothing.

    ``options`` are by ``remote_name``: of one that was not given there is None, or False.
    """
    option = options.get(f"remote_{name.replace('-', '_')}")
    if option is not None and option is not False:
        return option, f"--remote-{name}"
    variable = f"ENGINEWRIGHT_REMOTE_{name.upper().replace('-', '_')}"
    return (environ[variable], variable) if environ.get(variable) else None


_KINDS = {str: "string", float: "number of seconds"}


def _seconds(value: Any, where: str) -> float:
    try:
        seconds = 10.0 if value is None else float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise WorkspaceError(f"{where}: expected a number of seconds greater than 0, got {value!r}")
    return seconds


def _truth(value: Any, where: str) -> bool:
    if value in (None, False, True):
        return bool(value)
    if str(value).lower() not in ("0", "1", "false", "true", "no", "yes"):
        raise WorkspaceError(f"{where}: expected yes or no, got {value!r}")
    return str(value).lower() in ("1", "true", "yes")
