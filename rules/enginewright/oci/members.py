"""What goes into a layer, as the members of its archive: from files on disk, links, folders and deletions, with owners and modes.

A layer deletes what a layer below it has by a file ``.wh.NAME`` (OCI image-spec, layer.md, "Whiteouts",
https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, TypeVar

from enginewright.errors import ActionError
from enginewright.oci.tar import Member

T = TypeVar("T")

WHITEOUT = ".wh."
FOLDER_MODE = 0o755
FILE_MODE = 0o644
EXECUTABLE_MODE = 0o755
LONGEST_NAME = 255
"""Bytes of one part of a path, and `LONGEST_PATH` of a path below ``/``: Linux has no room for more (limits.h)."""
LONGEST_PATH = 4095


class Rights(NamedTuple):
    """Owners (uid, gid) and modes by path in the image.

    A path that ends with ``/`` stands for that folder and all in it; as for modes, for the files in it. The longest path wins.
    """

    owners: Mapping[str, tuple[int, int]] = {}
    modes: Mapping[str, int] = {}


NO_RIGHTS = Rights()


def gather(
    files: Mapping[str, Path],
    links: Mapping[str, str] | None = None,
    folders: Iterable[str] = (),
    deletes: Iterable[str] = (),
    rights: Rights = NO_RIGHTS,
) -> list[Member]:
    """The members of a layer, sorted, each after the folders it lies in. All names are absolute paths in the image.

    ``files`` says where the bytes of each are now; a folder brings all that is in it, and symbolic links are followed. ``links``
    are symbolic. Files get mode 0644, or 0755 where they are executable in a folder; of a single file that is no part of a digest, so it
    must not change the layer.

    Raises ActionError where two things want one name, a file is also a folder, and for a name that no layer can have.
    """
    found: dict[str, Member] = {}

    def add(member: Member) -> None:
        check_name(member.name)
        for parent in parents(member.name):
            _set(found, Member(parent, "folder", FOLDER_MODE))
        _set(found, member)

    for path, source in files.items():
        for member in _below(path.strip("/"), source, FILE_MODE):
            add(member)
    for path, target in (links or {}).items():
        add(Member(path.strip("/"), "symlink", 0o777, target=target))
    for path in folders:
        add(Member(path.strip("/"), "folder", FOLDER_MODE))
    for path in deletes:
        folder, _, name = path.strip("/").rpartition("/")
        for member in (Member(parent, "folder", FOLDER_MODE) for parent in parents(path.strip("/"))):
            _set(found, member)
        _set(found, Member(f"{folder}/{WHITEOUT}{name}".lstrip("/"), "file", FILE_MODE))
    return _with_rights(found, rights)


def parents(name: str) -> list[str]:
    """The folders that a member lies in, the highest first."""
    return list(accumulate(name.split("/"), "{}/{}".format))[:-1]


def check_name(name: str) -> None:
    """Raise ActionError for a name that is no relative path, leads out of the archive, deletes, or is longer than Linux has room for."""
    parts = name.split("/")
    if {"", ".", ".."} & set(parts) or "\0" in name:
        raise ActionError(f"{name!r} cannot be the name of a file in a layer: no '.', '..', '//' or NUL")
    if any(part.startswith(WHITEOUT) for part in parts):
        raise ActionError(f"/{name}: a name that starts with {WHITEOUT} deletes a file in a layer: rename it")
    encoded = os.fsencode(name)
    if len(encoded) > LONGEST_PATH or any(len(part) > LONGEST_NAME for part in encoded.split(b"/")):
        room = f"{LONGEST_NAME} bytes a part, {LONGEST_PATH} in all"
        raise ActionError(f"/{name[:80]}...: no file can have this name: Linux has room for {room}")


def _set(found: dict[str, Member], member: Member) -> None:
    other = found.setdefault(member.name, member)
    if other is not member and not other.kind == member.kind == "folder":
        raise ActionError(f"/{member.name} would come from two inputs: give one of them another path in the layer")


def _below(name: str, path: Path, mode: int) -> Iterator[Member]:
    if not path.is_dir():
        yield Member(name, "file", mode, path)
        return
    if name:
        yield Member(name, "folder", FOLDER_MODE)
    with os.scandir(path) as entries:
        for entry in entries:
            executable = entry.is_file() and entry.stat().st_mode & 0o100
            yield from _below(f"{name}/{entry.name}".lstrip("/"), Path(entry.path), EXECUTABLE_MODE if executable else FILE_MODE)


def _with_rights(found: Mapping[str, Member], rights: Rights) -> list[Member]:
    for attribute, paths in (("owners", rights.owners), ("modes", rights.modes)):
        for path in paths:
            name = path.strip("/")
            if name not in found and path != "/":
                raise ActionError(f"{attribute}[{path!r}]: the layer has no such path")
    members = []
    for name in sorted(found):
        member = found[name]
        owner = _nearest(rights.owners, f"/{name}/" if member.kind == "folder" else f"/{name}")
        if owner is not None:
            member = member._replace(uid=owner[0], gid=owner[1])
        mode = _nearest(rights.modes, f"/{name}") if member.kind == "file" else rights.modes.get(f"/{name}")
        if mode is not None:
            if member.kind == "symlink":
                raise ActionError(f"modes[{'/' + name!r}]: a symbolic link has no mode of its own: give one to what it leads to")
            member = member._replace(mode=mode)
        members.append(member)
    return members


def _nearest(by_path: Mapping[str, T], path: str) -> T | None:
    """What is said of a path itself, or of the folder nearest to it that it lies in."""
    found = by_path.get(path, by_path.get(path.removesuffix("/")))
    while found is None and (path := path.removesuffix("/")):
        path = path[: path.rindex("/") + 1]
        found = by_path.get(path)
    return found
