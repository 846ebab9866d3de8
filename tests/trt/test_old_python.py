"""TensorRT 8.5 has a wheel for CPython 3.10 only, so what builds and runs engines must be Python of that version."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import enginewright
from enginewright.execute.code import code_digests, module_path

RULES = ("enginewright.rules.engine", "enginewright.rules.latency_test", "enginewright.rules.accuracy_test")

NEWER = {"file_digest", "UTC", "StrEnum", "Self", "ExceptionGroup", "TaskGroup", "tomllib", "assert_never", "batched", "override"}
"""Names that came with Python 3.11 or later, of those that one may be led to use."""


def modules() -> Iterator[Path]:
    assert enginewright.__file__ is not None
    yield from (Path(enginewright.__file__).parent / "tensorrt").glob("*.py")
    for rule in RULES:
        for name in code_digests(rule):
            path = module_path(name)
            if path is not None and ".execute." not in name:
                yield path


@pytest.mark.parametrize("path", sorted(set(modules())), ids=lambda path: path.stem)
def test_nothing_is_newer_than_python_3_10(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 10))
    named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    named |= {alias.name for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names}
    assert not named & NEWER
