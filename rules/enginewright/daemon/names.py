"""What images are called in Docker: by the label of their target, unless somebody says otherwise."""

from __future__ import annotations

import re

# https://pkg.go.dev/github.com/distribution/reference: a name, perhaps with a registry before it, and a tag.
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"(?:[A-Za-z0-9.-]+(?::[0-9]+)?/)?{_PART}(?:/{_PART})*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)


def full_name(text: str) -> str:
    """A name with its tag, which is ``latest`` where none is given. Raises ValueError for what Docker would not take."""
    head, colon, tail = text.rpartition(":")
    name, tag = (head, tail) if colon and "/" not in tail else (text, "latest")
    if not _NAME.fullmatch(name) or not _TAG.fullmatch(tag):
        raise ValueError(f"{text!r} is no name of an image in Docker: write NAME:TAG, in lower case, as 'team/classifier:1.0'")
    return f"{name}:{tag}"
