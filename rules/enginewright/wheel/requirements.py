"""Requirement files in which all is pinned: each distribution to one version, and to the SHA-256 of its files.

The format is pip's (https://pip.pypa.io/en/stable/reference/requirements-file-format/), as `uv pip compile --generate-hashes`, `uv export`
and `pip-compile --generate-hashes` write it. Of the options that pip takes there, those that say where to look are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from enginewright.errors import ActionError

_OPTION = re.compile(r"(?:^|\s)--hash[= ](\S+)")
_COMMENT = re.compile(r"(^|\s)#.*$")
_PLACES = (
    "-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--no-index", "--trusted-host", "--only-binary", "--prefer-binary",
)  # fmt: skip
_HOW_TO = "`uv pip compile --generate-hashes` and `pip-compile --generate-hashes` write such files"


@dataclass(frozen=True)
class Pin:
    """One distribution: its normalised ``name``, its ``version``, and the SHA-256 digests that its file may have, in hexadecimal digits.

    ``requirement`` is what the file says without its hashes, ``line`` where.
    """

    name: str
    version: str
    digests: frozenset[str]
    requirement: str
    line: int

    def for_pip(self) -> str:
        """The requirement as one line of a requirements file, without its marker."""
        hashes = "".join(f" --hash=sha256:{digest}" for digest in sorted(self.digests))
        return f"{self.requirement.partition(';')[0].strip()}{hashes}"


class Pins(NamedTuple):
    """What a requirements file says for one environment: its pins by name, and options that say where to look."""

    pins: Mapping[str, Pin]
    places: tuple[str, ...]


def read_requirements(text: str, file: str, markers: Mapping[str, str]) -> Pins:
    """Read a requirements file, of which those requirements count whose markers are true of ``markers``.

    Raises ActionError, with file and line, for what is not pinned to one version and a SHA-256, is there twice, or is an option that
    takes requirements from elsewhere.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    pins: dict[str, Pin] = {}
    places: list[str] = []
    for number, line in _logical_lines(text):
        where = f"{file}:{number}"
        if line.startswith("-"):
            if re.split(r"[ =]", line)[0] not in _PLACES:
                raise ActionError(f"{where}: {line!r} is not supported: list every distribution in this file, pinned; {_HOW_TO}")
            places.append(line)
            continue
        written = re.split(r"\s--", line, maxsplit=1)[0].strip()
        try:
            requirement = Requirement(written)
        except InvalidRequirement as error:
            reason = str(error).splitlines()[0]
            raise ActionError(f"{where}: {written!r} is not a requirement, as 'fastapi==0.115.0' is ({reason})") from None
        if requirement.marker and not requirement.marker.evaluate(dict(markers)):
            continue
        if requirement.url and not re.match("(https?|file)://", requirement.url):
            raise ActionError(f"{where}: {written!r}: only a file has a digest; build a wheel of it once, and pin that")
        name = str(canonicalize_name(requirement.name))
        pinned = [each.version for each in requirement.specifier if each.operator in ("==", "===") and not each.version.endswith(".*")]
        if len(pinned) != 1 and not requirement.url:
            raise ActionError(f"{where}: {written} is not pinned: write {requirement.name}==VERSION; {_HOW_TO}")
        digests = frozenset(each.removeprefix("sha256:") for each in _OPTION.findall(line) if re.fullmatch("sha256:[0-9a-f]{64}", each))
        if not digests:
            raise ActionError(f"{where}: {written} has no --hash=sha256:...: without, nobody knows what will be installed; {_HOW_TO}")
        if name in pins:
            raise ActionError(f"{where}: {name} is pinned in line {pins[name].line} already")
        pins[name] = Pin(name, pinned[0] if pinned else "", digests, written, number)
    if not pins:
        raise ActionError(f"{file} pins nothing for this Python and platform: a layer needs at least one distribution")
    return Pins(pins, tuple(places))


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with those joined that end with a backslash, without comments and empty ones; and the number of their first."""
    waiting, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        content = _COMMENT.sub("", line).rstrip()
        first = first if waiting else number
        if content.endswith("\\"):
            waiting += content[:-1] + " "
            continue
        whole, waiting = (waiting + content).strip(), ""
        if whole:
            yield first, whole
    if waiting.strip():
        yield first, waiting.strip()
