"""What is installed to run actions: this package's code, and the distributions that actions may import."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

PACKAGE = "enginewright"
SOURCE_ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the package; the sandbox puts it on the module path."""

WORKER = f"{PACKAGE}.execute.worker"


class Toolchain(NamedTuple):
    """``versions`` maps distributions to their versions; ``modules`` are the top-level modules they install."""

    versions: Mapping[str, str]
    modules: frozenset[str]


Known: TypeAlias = tuple[dict[str, dict[str, str]], dict[tuple[str, ...], tuple[dict[str, str], list[str]]]]
"""Code digests by module, and versions and modules by declared distributions, as plain values."""


class Installation:
    """The code and toolchains of actions, each looked up once.

    What was looked up can be kept (`known`) and given to the next build, as long as nothing that is installed has changed; then
    nothing that looks them up is even imported.
    """

    def __init__(self, known: Known = ({}, {})) -> None:
        self._code = dict(known[0])
        self._toolchains = {packages: Toolchain(versions, frozenset(modules)) for packages, (versions, modules) in known[1].items()}
        self._given = self._count()

    @property
    def known(self) -> Known:
        """All that was looked up, as plain values."""
        toolchains = {packages: (dict(each.versions), sorted(each.modules)) for packages, each in self._toolchains.items()}
        return self._code, toolchains

    @property
    def grown(self) -> bool:
        """Whether more is known now than what was given."""
        return self._count() > self._given

    def _count(self) -> int:
        return len(self._code) + len(self._toolchains)

    def code(self, module: str) -> Mapping[str, str]:
        """The modules of this package that run when ``module`` does, with their digests."""
        if module not in self._code:
            from enginewright.execute.code import code_digests

            self._code[module] = dict(code_digests(module))
        return self._code[module]

    def toolchain(self, packages: tuple[str, ...]) -> Toolchain:
        """The toolchain of an action that declares these distributions. Raises LookupError when one is not installed."""
        if packages not in self._toolchains:
            from enginewright.execute.toolchain import toolchain

            self._toolchains[packages] = toolchain(packages)
        return self._toolchains[packages]
