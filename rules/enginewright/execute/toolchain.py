"""Toolchains: the installed distributions an action may import, and their versions.

An action declares distributions; its toolchain is these and all they require. Their versions are part of the action key,
and the sandbox makes every other distribution un-importable, so the key covers all that could be imported.
"""

from __future__ import annotations

import functools
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from enginewright.execute.installation import Toolchain


@functools.cache
def toolchain(packages: tuple[str, ...]) -> Toolchain:
    """The toolchain of an action that declares these distributions.

    Raises LookupError, saying what to install, when one of them is missing. A requirement of a requirement may be missing:
    it cannot be imported then.
    """
    versions: dict[str, str] = {}
    modules: set[str] = set()
    for name in packages:
        if _find(canonicalize_name(name)) is None:
            raise LookupError(f"the distribution {name!r} is not installed here: pip install {name}")
    # A distribution, and one of its extras or none.
    waiting = [(str(canonicalize_name(name)), "") for name in packages]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        found = _find(name)
        if (name, extra) in seen or found is None:
            continue
        seen.add((name, extra))
        if name not in versions:
            versions[name] = found.version
            modules |= _modules(found)
        waiting += _requirements(found, extra)
    return Toolchain(dict(sorted(versions.items())), frozenset(modules))


@functools.cache
def _find(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None


def _requirements(found: metadata.Distribution, extra: str) -> list[tuple[str, str]]:
    names = []
    for text in found.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            names += [(str(canonicalize_name(requirement.name)), wanted) for wanted in ("", *sorted(requirement.extras))]
    return names


def _modules(found: metadata.Distribution) -> set[str]:
    """The top-level names in a distribution's RECORD. `Distribution.files` gives the same, far slower for large ones."""
    names = set()
    for line in (found.read_text("RECORD") or "").splitlines():
        head, slash, _ = line.partition("/")
        head = head.partition(",")[0] if not slash else head
        names.add(head.partition(".")[0] if not slash else head)
    return {name for name in names if name.isidentifier()}
