"""Unpacking .deb files into the members of one layer, without dpkg, root or a chroot: the same bytes from anybody's machine.

deb(5), ar(5), and for a merged /usr https://wiki.debian.org/UsrMerge. Packages are unpacked and not configured: no maintainer script runs.
What of their work an image cannot do without is done here by `configured`.
"""

from __future__ import annotations

import fnmatch
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from enginewright.errors import ActionError
from enginewright.oci.members import parents
from enginewright.oci.tar import Member

_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
"""Folders of the root that are links into /usr."""
_COPIED = {
    "etc/passwd": "usr/share/base-passwd/passwd.master",
    "etc/group": "usr/share/base-passwd/group.master",
    "etc/nsswitch.conf": "usr/share/base-files/nsswitch.conf",
}  # fmt: skip
"""What base-passwd and base-files copy when they are configured, each if it is there."""
_CERTIFICATES = "usr/share/ca-certificates/"
_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_OPENSSL = "usr/lib/ssl/cert.pem"
_IN_MEMORY = 1 << 16


def unpack(debs: Iterable[Path], exclude: Iterable[str], scratch: Path) -> list[Member]:
    """The members of a layer with what is in these packages, sorted; large files lie in ``scratch`` until it is written.

    ``exclude`` are patterns of absolute paths that are left out, but for copyright files; ``*`` matches ``/`` too. Each package leaves its
    control file in /var/lib/dpkg/status.d, where scanners look for what is installed. Raises ActionError for a file that is no .deb or is
    damaged, a device, a path that leads out of the image, and a file that two packages have.
    """
    excluded = re.compile("|".join(fnmatch.translate(pattern) for pattern in exclude) or r"(?!)")
    found: dict[str, Member] = {}
    owner: dict[str, str] = {}
    hard_links: list[tuple[str, str]] = []
    for deb in sorted(debs):
        try:
            for member in _members(deb, scratch):
                if excluded.match(f"/{member.name}") and not member.name.endswith("/copyright"):
                    continue
                if member.kind == "hardlink":
                    hard_links.append((member.name, member.target))
                before = found.get(member.name)
                if before and owner[member.name] != deb.name and not before.kind == member.kind == "folder":
                    raise ActionError(f"/{member.name} is in {owner[member.name]} and in {deb.name}: leave one of them out")
                if before is None or before.kind != "folder":
                    found[member.name], owner[member.name] = member, deb.name
        except (tarfile.TarError, EOFError, OSError, ValueError, KeyError) as error:
            raise ActionError(f"{deb.name} is a damaged Debian package, or none: {error}") from None
    for name, target in hard_links:
        if target not in found:
            raise ActionError(f"/{name} is a hard link to /{target}, which is not there: exclude both or neither")
        found[name] = found[target]._replace(name=name)
    _configure(found)
    for parent in [parent for name in found for parent in parents(name)]:
        found.setdefault(parent, Member(parent, "folder", 0o755))
    return [found[name] for name in sorted(found)]


def _configure(found: dict[str, Member]) -> None:
    """Add what configuring these packages would have made, and what nothing runs without."""
    for name in _MERGED:
        if f"usr/{name}" in found or any(each.startswith(f"usr/{name}/") for each in found):
            found[name] = Member(name, "symlink", 0o777, target=f"usr/{name}")
    for name, source in _COPIED.items():
        if source in found:
            found[name] = found[source]._replace(name=name, mode=0o644)
    certificates = [found[name] for name in sorted(found) if name.startswith(_CERTIFICATES) and name.endswith(".crt")]
    if certificates:
        found[_BUNDLE] = Member(_BUNDLE, "file", 0o644, b"".join(_content(each) for each in certificates))
        # Where Debian's OpenSSL looks. Its package has the folder, with links by hash that are made when it is configured.
        found.setdefault(_OPENSSL, Member(_OPENSSL, "symlink", 0o777, target=f"/{_BUNDLE}"))
    if "var/lib/dpkg" in found or "etc/debian_version" in found:
        found.setdefault("var/run", Member("var/run", "symlink", 0o777, target="/run"))
        found.setdefault("var/lock", Member("var/lock", "symlink", 0o777, target="/run/lock"))


def _content(member: Member) -> bytes:
    return member.source.read_bytes() if isinstance(member.source, Path) else member.source


def _members(deb: Path, scratch: Path) -> Iterator[Member]:
    """The members of one package: its files, as they are to lie in the image, and its control file."""
    parts = dict(_archive(deb))
    control = next((part for name, part in parts.items() if name.startswith("control.tar")), None)
    data = next((part for name, part in parts.items() if name.startswith("data.tar")), None)
    if control is None or data is None:
        raise ValueError("it has no control.tar or no data.tar")
    with _tar(deb, control) as tar:
        described = next(tar.extractfile(each) for each in tar if each.name.removeprefix("./") == "control")
        assert described is not None
        name = f"var/lib/dpkg/status.d/{deb.name.partition('_')[0]}"
        yield Member(name, "file", 0o644, described.read())
    with _tar(deb, data) as tar:
        for each in tar:
            if (name := _placed(each.name)) and name not in _MERGED:
                yield _member(name, each, tar, scratch)


def _member(name: str, each: tarfile.TarInfo, tar: tarfile.TarFile, scratch: Path) -> Member:
    if each.isdir():
        return Member(name, "folder", each.mode, uid=each.uid, gid=each.gid)
    if each.issym():
        return Member(name, "symlink", 0o777, target=each.linkname, uid=each.uid, gid=each.gid)
    if each.islnk():
        return Member(name, "hardlink", each.mode, target=_placed(each.linkname))
    content = tar.extractfile(each) if each.isfile() else None
    if content is None:
        raise ValueError(f"/{name} is neither a file, nor a folder, nor a link")
    return Member(name, "file", each.mode, _keep(content, each.size, scratch), uid=each.uid, gid=each.gid)


def _keep(content: IO[bytes], size: int, scratch: Path) -> bytes | Path:
    """The bytes of a file, or where they are until the layer is written."""
    if size <= _IN_MEMORY:
        return content.read()
    place = scratch / str(sum(1 for _ in scratch.iterdir()))
    with place.open("xb") as out:
        while piece := content.read(1 << 20):
            out.write(piece)
    return place


def _placed(name: str) -> str:
    """Where a package's file lies in an image with a merged /usr; empty for the root itself. Raises ValueError for a path out of it."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError(f"{name!r} leads out of the package")
    if len(parts) > 1 and parts[0] in _MERGED:
        parts = ["usr", *parts]
    return "/".join(parts)


def _archive(deb: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """The names, offsets and sizes of the members of an ar archive."""
    with deb.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise ValueError("it is no ar archive")
        while header := file.read(60):
            if len(header) < 60 or header[58:] != b"`\n":
                raise ValueError("it ends early")
            size = int(header[48:58])
            yield header[:16].decode().strip().rstrip("/"), (file.tell(), size)
            file.seek(size + size % 2, 1)


def _tar(deb: Path, part: tuple[int, int]) -> tarfile.TarFile:
    offset, size = part
    section = _Section(deb.open("rb"), offset, size)
    magic = section.read(4)
    section.rewind()
    stream: Any = section
    if magic == b"\x28\xb5\x2f\xfd":
        import zstandard

        stream = zstandard.ZstdDecompressor().stream_reader(stream)
    if magic == b"\xfd7zX":
        return tarfile.open(fileobj=stream, mode="r|xz")
    return tarfile.open(fileobj=stream, mode="r|gz" if magic[:2] == b"\x1f\x8b" else "r|")


class _Section:
    """A part of a file, as a stream of bytes."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._file, self._offset, self._size = file, offset, size
        self.rewind()

    def rewind(self) -> None:
        self._file.seek(self._offset)
        self._left = self._size

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._file.read(wanted)
        if len(data) < wanted:
            raise EOFError("it ends early")
        self._left -= len(data)
        return data
