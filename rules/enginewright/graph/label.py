"""Labels: the names of targets, as Bazel writes them without the leading slashes.

``models/minilm:engine_sm_89`` is target ``engine_sm_89`` of package ``models/minilm``. The same text is the name of the
doit task.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_PACKAGE = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


class Label(NamedTuple):
    """The name of a target: its package (a folder, ``/``-separated, relative to the workspace) and its own name."""

    package: str
    name: str

    def __str__(self) -> str:
        return f"{self.package}:{self.name}"

    @classmethod
    def parse(cls, text: str, package: str | None = None) -> Label:
        """Read ``pkg:name``, ``//pkg:name`` or, relative to ``package``, ``:name``.

        Raises ValueError, with a sentence that says what is wrong, when ``text`` is not a label.
        """
        head, colon, name = text.removeprefix("//").partition(":")
        if not colon:
            raise ValueError(f"{text!r} is not a label: write 'package:name', or ':name' for a target of the same package")
        if not head and package is not None and not text.startswith("//"):
            head = package
        if not is_package(head):
            raise ValueError(f"{text!r} is not a label: {head!r} is not a package name")
        if not is_name(name):
            raise ValueError(f"{text!r} is not a label: {name!r} is not a target name")
        return cls(head, name)


def is_name(text: str) -> bool:
    """Whether ``text`` may name a target (letters, digits, ``_ . + -``; it becomes a file name and a doit task name)."""
    return _NAME.fullmatch(text) is not None


def is_package(text: str) -> bool:
    """Whether ``text`` may name a package: a relative path with no ``.`` or ``..`` part."""
    return _PACKAGE.fullmatch(text) is not None and not {".", ".."} & set(text.split("/"))
