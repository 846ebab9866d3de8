"""What is in a layer: its archive read once, member by member, whatever it is compressed with and whoever wrote it."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, NamedTuple, cast

import xxhash

from enginewright.errors import ActionError
from enginewright.oci.compression import CHUNK, damage, decompressed
from enginewright.oci.layer import Layer
from enginewright.oci.members import WHITEOUT

_OPAQUE = f"{WHITEOUT}{WHITEOUT}.opq"
_KINDS = {
    tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "symlink", tarfile.LNKTYPE: "hardlink",
    tarfile.CHRTYPE: "device", tarfile.BLKTYPE: "device", tarfile.FIFOTYPE: "pipe",
}  # fmt: skip


class Entry(NamedTuple):
    """One member of a layer.

    ``path`` is absolute, as it is in the image. ``kind`` is ``file``, ``folder``, ``symlink``, ``hardlink``, ``device`` or ``pipe``; or
    ``deletion`` of the path, or ``opaque`` for a folder that shows nothing of the layers below. ``size`` is in bytes; ``content`` is the
    XXH3-128 of a file's bytes.
    """

    path: str
    kind: str
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    target: str = ""
    content: str = ""


class Listing(NamedTuple):
    """What a layer has, in its order, and, in words, what is wrong with it: names that lead out of the image and the like."""

    entries: list[Entry]
    problems: list[str]


def list_layer(stream: io.RawIOBase, layer: Layer, where: str) -> Listing:
    """Read a layer to its end from a stream that checks the blob's digest.

    Raises ActionError, beginning with ``where``, for what is no archive, ends early, or has not the layer's diff_id once it is
    decompressed; and whatever reading the stream raises.
    """
    broken: tuple[type[Exception], ...] = (tarfile.TarError, *damage())
    with decompressed(io.BufferedReader(stream, CHUNK)) as content:
        hashed = _Hashing(content, hashlib.sha256() if layer.diff_id != layer.descriptor.digest else None)
        try:
            with tarfile.open(fileobj=cast(BinaryIO, hashed), mode="r|", bufsize=CHUNK) as tar:
                entries, problems = _read(tar)
            while hashed.read(CHUNK):
                pass
        except broken as error:
            raise ActionError(f"{where}: it is no archive, or damaged: {error or 'it ends early'}") from None
    if hashed.sha256 and (digest := f"sha256:{hashed.sha256.hexdigest()}") != layer.diff_id:
        raise ActionError(f"{where}: its content has the digest {digest}, and should have {layer.diff_id}")
    return Listing(entries, problems)


MARKS = ("deletion", "opaque")
"""Kinds of entries that show nothing, and hide what layers below have."""


def merged(layers: Iterable[Iterable[Entry]], marks: bool = False) -> dict[str, tuple[Entry, int]]:
    """What an image shows, by path, of layers given from the lowest: each with the number of its layer.

    Deletions and opaque folders do to layers below what layer.md, "Whiteouts", says; what is no folder any more shows nothing in it.
    With ``marks`` these are in the result too, for layers below which are not among those given; an opaque folder with a closing slash.
    """
    shown: dict[str, tuple[Entry, int]] = {}
    for number, layer in enumerate(layers):
        entries = list(layer)
        gone = {entry.path for entry in entries if entry.kind == "deletion"}
        emptied = {entry.path for entry in entries if entry.kind == "opaque"}
        emptied |= gone | {entry.path for entry in entries if entry.kind not in ("folder", "deletion", "opaque")}
        if gone or emptied:
            shown = {path: found for path, found in shown.items() if path not in gone and emptied.isdisjoint(_above(path))}
        if marks:
            shown.update((entry.path, (entry, number)) for entry in entries if entry.kind == "deletion")
            shown.update((f"{entry.path.rstrip('/')}/", (entry, number)) for entry in entries if entry.kind == "opaque")
        shown.update((entry.path, (entry, number)) for entry in entries if entry.kind not in MARKS)
    return shown


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
    yield "/"


def _read(tar: tarfile.TarFile) -> tuple[list[Entry], list[str]]:
    found: dict[str, Entry] = {}
    problems: list[str] = []
    for member in tar:
        path, escapes = _resolve("", member.name)
        if escapes:
            problems.append(f"{member.name!r} leads out of the image")
        entry = _entry(tar, member, path)
        if entry.kind == "hardlink":
            linked, escapes = _resolve("", entry.target)
            if escapes or linked not in found:
                problems.append(
                    f"{path} is a hard link to {entry.target!r}, " + ("out of the image" if escapes else "which is not before it")
                )
        elif entry.kind == "symlink" and not entry.target.startswith("/") and _resolve(path.rpartition("/")[0], entry.target)[1]:
            problems.append(f"{path} is a link to {entry.target!r}, out of the image")
        if path in found and not (entry.kind == found[path].kind == "folder"):
            problems.append(f"{path} is in it twice")
        found[path] = entry
    return list(found.values()), problems


def _entry(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> Entry:
    folder, _, name = path.rpartition("/")
    if name == _OPAQUE:
        return Entry(folder or "/", "opaque")
    if name.startswith(WHITEOUT):
        return Entry(f"{folder}/{name.removeprefix(WHITEOUT)}", "deletion")
    kind = _KINDS.get(member.type, "file")
    content, size = "", 0
    if kind == "file":
        hashed = xxhash.xxh3_128()
        file = tar.extractfile(member)
        while file is not None and (data := file.read(CHUNK)):
            hashed.update(data)
            size += len(data)
        if size != member.size:
            raise tarfile.ReadError(f"{path} ends after {size} of {member.size} bytes")
        content = hashed.hexdigest()
    return Entry(path, kind, size, member.mode & 0o7777, member.uid, member.gid, member.linkname, content)


def _resolve(folder: str, path: str) -> tuple[str, bool]:
    """The absolute path in the image that a path means, seen from a folder, and whether it tries to leave the image."""
    parts = [part for part in folder.split("/") if part]
    escapes = False
    for part in path.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part == "..":
            escapes = True
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts), escapes


class _Hashing:
    """A stream that is hashed while it is read, unless that has been done."""

    def __init__(self, stream: BinaryIO, sha256: hashlib._Hash | None) -> None:
        self.sha256 = sha256
        self._stream = stream

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if self.sha256:
            self.sha256.update(data)
        return data


def total(entries: Iterable[Entry]) -> Mapping[str, int]:
    """How many ``files`` there are, links and folders not counted, and their ``bytes``."""
    sizes = [entry.size for entry in entries if entry.kind == "file"]
    return {"files": len(sizes), "bytes": sum(sizes)}
