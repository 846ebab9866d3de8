"""What a failed action was missing: files that the workspace has, but that it did not declare.

Python code has the guard's word for it. Native code and child processes do not find such a file, and this is what they say.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from pathlib import Path

from enginewright.execute.guard import Policy, undeclared

_NOT_FOUND = os.strerror(errno.ENOENT)
_WORD = re.compile(r"[^\s'\"`:;,()\[\]]+")
_LOG_BYTES = 1 << 16


def end_of(log: Path) -> str:
    """The end of what an action printed, where its last words are."""
    with open(log, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_BYTES))
        return file.read().decode(errors="replace")


def undeclared_in(texts: Iterable[str], policy: Policy) -> list[str]:
    """What to declare: the files of the workspace of which errors or logs say that they do not exist, each with the advice."""
    lines = (line.replace(_NOT_FOUND, "") for text in texts for line in text.splitlines() if _NOT_FOUND in line)
    paths = (path for line in lines for word in _WORD.findall(line) if (path := _in_workspace(word, policy)))
    return [undeclared(path, policy.package) for path in dict.fromkeys(paths)]


def _in_workspace(word: str, policy: Policy) -> str:
    """The path in the workspace of an undeclared file that an action calls by this word; empty when it is none."""
    full = os.path.normpath(os.path.join(policy.root, word))
    for top in (policy.root, policy.workspace):
        path = os.path.relpath(full, top)
        real = os.path.realpath(os.path.join(policy.workspace, path))
        if full.startswith(f"{top}/") and os.path.isfile(real) and not policy.may_read(real):
            return path
    return ""
