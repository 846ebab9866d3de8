from __future__ import annotations

import pytest

from throwaway import Workspace

X = """
from enginewright import python_action

python_action(name="a", function="make.py:copy", inputs={"src": "src.txt"}, outputs={"out": "out.txt"})
python_action(name="b", function="make.py:copy", inputs={"src": ":a"}, outputs={"out": "out.txt"})
python_action(name="c", function="make.py:copy", inputs={"b": ":b", "more": "more.txt"}, outputs={"out": "out.txt", "again": "again.txt"})
"""
Y = """
from enginewright import python_action

python_action(name="d", function="make.py:copy", inputs={"src": "src.txt"}, outputs={"out": "out.txt"})
"""


@pytest.fixture
def workspace(empty: Workspace) -> Workspace:
    """A workspace with a chain a -> b -> c in models/x, where a leaves comments out, and d in models/y."""
    empty.write({"models/x/BUILD.py": X, "models/x/make.py": empty.make, "models/x/src.txt": "one\n", "models/x/more.txt": "more\n"})
    empty.write({"models/y/BUILD.py": Y, "models/y/make.py": empty.make, "models/y/src.txt": "two\n"})
    return empty
