"""Tar archives, as layers are: entry by entry, whatever they are compressed with."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from enginewright.compare.content import byte_differences
from enginewright.compare.verdict import NONE, NUMERICAL, Comparison, Finding, differing
from enginewright.oci.compression import decompressed

_FIELDS = {"kind": "type", "mode": "mode", "owner": "owner", "mtime": "mtime", "link": "link", "size": "size"}
_KINDS = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "symbolic link", tarfile.LNKTYPE: "hard link"}


class Member(NamedTuple):
    """What an archive has of one entry; ``sha256`` is of its content."""

    kind: str
    mode: str
    owner: str
    mtime: int
    link: str
    size: int
    sha256: str


def compare_archives(first: Path, second: Path) -> Comparison:
    """Compare two tar archives. Raises ValueError where one of them is none."""
    one, other = members(first), members(second)
    findings = list(_differences(one, other))
    if not findings and list(one) != list(other):
        findings = [Finding("order", "the entries are the same, in another order")]
    if findings:
        return differing(NONE, findings)
    return differing(NUMERICAL, byte_differences(first, second), "the entries are the same; the archive is written or compressed otherwise")


def _differences(one: dict[str, Member], other: dict[str, Member]) -> Iterator[Finding]:
    for name in sorted({*one, *other}):
        a, b = one.get(name), other.get(name)
        where = f"entry {name}"
        if a is None or b is None:
            yield Finding(where, "is only in the first" if a else "is only in the second")
            continue
        told = [
            f"{words} {getattr(a, field)} -> {getattr(b, field)}"
            for field, words in _FIELDS.items()
            if getattr(a, field) != getattr(b, field)
        ]
        if a.sha256 != b.sha256 and a.size == b.size:
            told.append(f"content sha256:{a.sha256[:12]}... -> sha256:{b.sha256[:12]}...")
        if told:
            yield Finding(where, ", ".join(told))


def members(archive: Path) -> dict[str, Member]:
    """The entries of an archive, in its order; of those with one name the last. Raises ValueError where it is none."""
    found: dict[str, Member] = {}
    try:
        with archive.open("rb") as file, tarfile.open(fileobj=decompressed(file), mode="r|") as tar:
            for info in tar:
                digest = hashlib.sha256()
                content = tar.extractfile(info) if info.isfile() else None
                while content and (chunk := content.read(1 << 20)):
                    digest.update(chunk)
                kind = _KINDS.get(info.type, f"type {info.type!r}")
                owner = f"{info.uid}:{info.gid}" + (f" ({info.uname}:{info.gname})" if info.uname or info.gname else "")
                found[info.name] = Member(kind, f"{info.mode:04o}", owner, int(info.mtime), info.linkname, info.size, digest.hexdigest())
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{archive.name} is no tar archive: {error}") from None
    return found
