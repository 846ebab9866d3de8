"""What went wrong in a build, beside the line that it is about, in the forms that GitHub and GitLab show. No input or output."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

FORMS = ("github", "gitlab")

_AT = re.compile(r"^\s*(?P<path>[\w./-]+\.\w+):(?P<line>\d+)\b", re.MULTILINE)


class Annotation(NamedTuple):
    """One thing that went wrong: a file of the workspace, a line of it from 1, what in a few words, and why."""

    path: str
    line: int
    title: str
    message: str


def place(text: str, path: str, line: int, known: Callable[[str], bool]) -> tuple[str, int]:
    """The last place that a message names in a file that is ``known``, as ``models/x/net.py:12``: there the user's own code failed.

    Without any, the one that is given.
    """
    found = [(match["path"], int(match["line"])) for match in _AT.finditer(text) if known(match["path"])]
    return found[-1] if found else (path, line)


def render(annotations: Iterable[Annotation], form: str) -> str:
    """Annotations in one of `FORMS`."""
    return "".join(_github(annotations)) if form == "github" else _gitlab(annotations)


def _github(annotations: Iterable[Annotation]) -> Iterator[str]:
    """A line each: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands, "Setting an error message"."""
    for each in annotations:
        yield f"::error file={_property(each.path)},line={each.line},title={_property(each.title)}::{_data(each.message)}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _gitlab(annotations: Iterable[Annotation]) -> str:
    """A list of objects: https://docs.gitlab.com/ci/testing/code_quality/, "Code Quality report format"."""
    found = [
        {
            "description": f"{each.title}: {each.message}",
            "check_name": "enginewright",
            # The same as long as the same is wrong, wherever in the file it goes.
            "fingerprint": hashlib.sha256("\0".join((each.path, each.title, each.message)).encode()).hexdigest(),
            "severity": "blocker",
            "location": {"path": each.path, "lines": {"begin": each.line}},
        }
        for each in annotations
    ]
    return json.dumps(found, indent=1) + "\n"
