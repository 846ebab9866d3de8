"""Loading: the workspace's BUILD.py files, run one by one, give declarations."""

from __future__ import annotations

import builtins
import os
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from enginewright.errors import DeclarationError, WorkspaceError
from enginewright.graph.attributes import did_you_mean
from enginewright.graph.label import is_package
from enginewright.graph.rule import Declared, Loading, Location, loading

BUILD_FILE = "BUILD.py"


class Found(NamedTuple):
    """``packages``, sorted, and ``watched``: the files and folders that show, by their stat, when a search would find others."""

    packages: list[str]
    watched: list[str]


def find_packages(root: Path, patterns: Iterable[str]) -> Found:
    """Find the packages of a workspace: folders with a BUILD.py that match one of the glob patterns.

    Raises WorkspaceError for a pattern that is none, and DeclarationError for a folder that no label can name.
    """
    packages: set[str] = set()
    watched: set[str] = set()
    for pattern in patterns:
        if {"", ".", "..", "**"} & set(pattern.split("/")) or "\0" in pattern:
            raise WorkspaceError(
                f"pyproject.toml: [tool.enginewright] packages: {pattern!r} is not a relative glob pattern, such as 'models/*'"
            )
        folders = ["."]
        for part in pattern.split("/"):
            watched.update(folders if part.strip("*?[") != part else (_join(folder, part) for folder in folders))
            folders = [_join(folder, name) for folder in folders for name in _subfolders(root / folder) if fnmatch(name, part)]
        for folder in folders:
            build_file = f"{folder}/{BUILD_FILE}"
            if os.path.lexists(root / build_file):  # a link that leads nowhere is a mistake, not the lack of a package
                packages.add(folder)
                watched.add(build_file)
            else:
                watched.add(folder)
    for package in packages:
        if not is_package(package):
            raise DeclarationError(f"{package}/{BUILD_FILE}:1: the folder cannot be a package: rename it to letters, digits and _ . - only")
    return Found(sorted(packages), sorted(watched))


def _join(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def _subfolders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def load_packages(root: Path, packages: Iterable[str], watch: Callable[[str], None] = lambda folder: None) -> Mapping[str, list[Declared]]:
    """Run each package's BUILD.py and collect what it declares. Raises DeclarationError, naming file and line.

    ``watch`` is called with each folder, relative to ``root``, before its files are listed: other files would be other declarations.
    """
    return {package: _load(root, package, watch) for package in packages}


def _load(root: Path, package: str, watch: Callable[[str], None]) -> list[Declared]:
    def list_files(below: str) -> list[str]:
        folder = f"{package}/{below}" if below else package
        watch(folder)
        try:
            with os.scandir(root / folder) as entries:
                names = {entry.name: (entry.is_file(), entry.is_dir(follow_symlinks=False)) for entry in entries}
            return [name if file else f"{name}/" for name, (file, below) in names.items() if file or below]
        except (FileNotFoundError, NotADirectoryError):
            return []

    path = f"{package}/{BUILD_FILE}"
    into = Loading(package, path, list_files)
    try:
        if (root / path).exists() and not (root / path).is_file():
            raise OSError("it is no file")  # a pipe would be waited for, a device read without end
        source = (root / path).read_text(encoding="utf-8-sig")  # with a byte order mark, or without, as Python's own
        code = compile(source, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise DeclarationError(f"{path}:{error.lineno or 1}: {error.msg}") from None
    except (OSError, ValueError) as error:
        raise DeclarationError(f"{path}:1: cannot be read: {error}") from None
    except (RecursionError, MemoryError):
        raise DeclarationError(f"{path}:1: an expression is nested too deeply for Python") from None
    token = loading.set(into)
    try:
        exec(code, namespace := {"__name__": "BUILD", "__file__": str(root / path), "__builtins__": builtins})
    except (DeclarationError, KeyboardInterrupt):
        raise
    except BaseException as error:
        where = Location(path, _line_in(error, path))
        raise DeclarationError(f"{where}: {_in_words(error, namespace)}") from None
    finally:
        loading.reset(token)
    return into.declared


def _line_in(error: BaseException, path: str) -> int:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return lines[-1] or 1 if lines else 1


def _in_words(error: BaseException, namespace: Mapping[str, object]) -> str:
    if isinstance(error, NameError) and error.name:
        import enginewright

        hint = "; add it to 'from enginewright import ...'" if error.name in enginewright.__all__ else ""
        return f"{error}{hint or did_you_mean(error.name, [*namespace, *enginewright.__all__])}"
    match = re.fullmatch(r"cannot import name '(\w+)' from 'enginewright'.*", str(error))
    if isinstance(error, ImportError) and match:
        import enginewright

        return f"enginewright has no rule {match[1]!r}{did_you_mean(match[1], enginewright.__all__)}"
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}".rstrip(": ")
