"""The code an action runs: its rule's module, and what that imports from this package."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

import xxhash

from enginewright.execute.installation import PACKAGE, SOURCE_ROOT, WORKER


@functools.cache
def code_digests(module: str) -> Mapping[str, str]:
    """The modules of this package that run when ``module`` does, the sandbox's worker included, with their digests.

    Imports are read from the source, those inside functions too; nothing is imported.
    """
    found: dict[str, str] = {}
    waiting = [module, WORKER]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name], imports = _read(name)
            waiting += imports
    return dict(sorted(found.items()))


def module_path(name: str) -> Path | None:
    """The source file of a module of this package, or None when there is no such module."""
    base = SOURCE_ROOT.joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@functools.cache
def _read(name: str) -> tuple[str, tuple[str, ...]]:
    path = module_path(name)
    if path is None:
        raise ModuleNotFoundError(f"there is no module {name}")
    source = path.read_bytes()
    return xxhash.xxh3_128_hexdigest(source), tuple(_imports(ast.parse(source)))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # "from enginewright.oci import tar" names a module, "from enginewright.oci.tar import write" an attribute of one.
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [each if module_path(each) else node.module for each in inner] if node.module.startswith(PACKAGE) else []
        yield from (name for name in names if name.split(".")[0] == PACKAGE and name != PACKAGE)
