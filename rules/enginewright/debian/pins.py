"""Pins: the Debian packages that an image is made of, each with its version and the SHA-256 of its .deb.

A line is ``NAME=VERSION ARCHITECTURE sha256:DIGEST``, sorted by name; a line that begins with ``#`` is a comment. `doit pin` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from enginewright.errors import ActionError

# Debian Policy Manual, 5.6.1 "Source" and 5.6.12 "Version" (https://www.debian.org/doc/debian-policy/ch-controlfields.html).
NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_LINE = re.compile(rf"({NAME.pattern})=([0-9][A-Za-z0-9.+:~-]*) ([a-z0-9-]+) sha256:([0-9a-f]{{64}})")


class Package(NamedTuple):
    """A package of one version for one architecture, and the SHA-256 of its .deb as hexadecimal digits."""

    name: str
    version: str
    architecture: str
    sha256: str

    @property
    def pin(self) -> str:
        """As apt takes it: ``NAME:ARCHITECTURE=VERSION``."""
        return f"{self.name}:{self.architecture}={self.version}"

    @property
    def file(self) -> str:
        """What apt calls its .deb."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


def write_pins(packages: Iterable[Package], wanted: Iterable[str], command: str) -> str:
    """The text of a file of pins. ``wanted`` and ``command`` are for its first lines: what was asked for, and how to do it again."""
    lines = [f"{each.name}={each.version} {each.architecture} sha256:{each.sha256}" for each in sorted(packages)]
    return "\n".join([f"# {command} wrote this, for {' '.join(wanted)} and all that these depend on.", *lines, ""])


def read_pins(text: str, file: str) -> list[Package]:
    """Read a file of pins. Raises ActionError with file and line for what is not such a line, and for a package that is there twice."""
    found: dict[str, Package] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ActionError(f"{file}:{number}: expected NAME=VERSION ARCHITECTURE sha256:DIGEST, got {line.strip()!r}")
        package = Package(*match.groups())
        if package.name in found:
            raise ActionError(f"{file}:{number}: {package.name} is there twice")
        found[package.name] = package
    return list(found.values())
