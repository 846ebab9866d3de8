"""A bundle: a folder whose file SHA256SUMS lists all others. The digest of that file is the digest of the bundle.

The format is that of GNU coreutils' sha256sum, so that ``sha256sum --check SHA256SUMS`` verifies a bundle anywhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from enginewright.errors import ActionError
from enginewright.model.checksum import sha256_of

SUMS = "SHA256SUMS"

_LINE = re.compile(r"([0-9a-f]{64})  ([^\\\r\n]+)")


@dataclass(frozen=True)
class Bundle:
    """What a bundle consists of: the SHA-256 of each file, by its ``/``-separated path, all but SHA256SUMS."""

    files: Mapping[str, str]

    def encode(self) -> bytes:
        """The bytes of SHA256SUMS, sorted by path."""
        return "".join(f"{digest}  {path}\n" for path, digest in sorted(self.files.items())).encode()

    @property
    def name(self) -> str:
        """``sha256-`` and the digest of the bundle: the folder that it is published as."""
        return f"sha256-{hashlib.sha256(self.encode()).hexdigest()}"


def decode(data: bytes, where: str) -> Bundle:
    """The bundle of a SHA256SUMS. Raises ActionError for bytes that are none, and for a path that leads out of the folder."""
    try:
        matches = [_LINE.fullmatch(line) for line in data.decode().removesuffix("\n").split("\n")]
    except UnicodeDecodeError:
        matches = [None]
    files = {match[2]: match[1] for match in matches if match}
    if None in matches or any({"", ".", ".."} & set(path.split("/")) for path in files):
        raise ActionError(f"{where} is not the list of a bundle's files: it is cut off, or damaged")
    return Bundle(files)


def seal(folder: Path) -> Bundle:
    """Write the SHA256SUMS of a folder. Every file is read. Raises ActionError for a name that such a list cannot hold."""
    files = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        name = path.relative_to(folder).as_posix()
        if not _LINE.fullmatch(f"{'0' * 64}  {name}") or name == SUMS:
            raise ActionError(f"{name!r} cannot be the name of a file in a bundle: use no line breaks and no backslashes, and not {SUMS}")
        files[name] = sha256_of(path)
    bundle = Bundle(files)
    (folder / SUMS).write_bytes(bundle.encode())
    return bundle


def unsealed(folder: Path, bundle: Bundle) -> str:
    """What of a folder is not as its bundle says, in words; empty when all is. Every file is read."""
    for name, digest in bundle.files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if sha256_of(path) != digest:
            return f"{name} has other bytes than {SUMS} says"
    return ""
