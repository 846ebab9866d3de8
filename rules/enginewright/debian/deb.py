"""Reading .deb files, and the tar archives in them, as members of a layer. deb(5), ar(5), https://wiki.debian.org/UsrMerge."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from enginewright.errors import ActionError
from enginewright.oci.tar import Member

MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
"""Folders of the root that are links into /usr."""

_IN_MEMORY = 1 << 16


@contextmanager
def reading(deb: Path) -> Iterator[None]:
    """Raise ActionError, naming the file, for what goes wrong when a package is read that is damaged or none."""
    try:
        yield
    except (tarfile.TarError, EOFError, OSError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's trouble, not the package's
            raise
        raise ActionError(f"{deb.name} is a damaged Debian package, or none: {error}") from None


def control(deb: Path) -> bytes:
    """A package's control file: what an archive says of it, but for where it lies. To be called while `reading`."""
    with _tar(deb, "control") as tar:
        described = next(tar.extractfile(each) for each in tar if each.name.removeprefix("./") == "control")
        assert described is not None
        return described.read()


def files(deb: Path, scratch: Path) -> Iterator[Member]:
    """A package's files, as they are to lie in an image; large ones are put into ``scratch``. To be called while `reading`."""
    with _tar(deb, "data") as tar:
        for each in tar:
            if (name := placed(each.name)) and name not in MERGED:
                yield member(name, each, tar, scratch)


def member(name: str, each: tarfile.TarInfo, tar: tarfile.TarFile, scratch: Path) -> Member:
    """An entry of a tar archive as a member called ``name``. Raises ValueError for what no layer is to have, as devices."""
    if each.isdir():
        return Member(name, "folder", each.mode, uid=each.uid, gid=each.gid)
    if each.issym():
        return Member(name, "symlink", 0o777, target=each.linkname, uid=each.uid, gid=each.gid)
    if each.islnk():
        return Member(name, "hardlink", each.mode, target=placed(each.linkname))
    content = tar.extractfile(each) if each.isfile() else None
    if content is None:
        raise ValueError(f"/{name} is neither a file, nor a folder, nor a link")
    return Member(name, "file", each.mode, _keep(content, each.size, scratch), uid=each.uid, gid=each.gid)


def placed(name: str) -> str:
    """Where an archive's file lies in an image with a merged /usr; empty for the root itself. Raises ValueError for a path out of it."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError(f"{name!r} leads out of the package")
    if len(parts) > 1 and parts[0] in MERGED:
        parts = ["usr", *parts]
    return "/".join(parts)


def _keep(content: IO[bytes], size: int, scratch: Path) -> bytes | Path:
    """The bytes of a file, or where they are until the layer is written."""
    if size <= _IN_MEMORY:
        return content.read()
    place = scratch / str(sum(1 for _ in scratch.iterdir()))
    with place.open("xb") as out:
        while piece := content.read(1 << 20):
            out.write(piece)
    return place


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


def _tar(deb: Path, name: str) -> tarfile.TarFile:
    """The archive in a package that is called ``name``.tar, however it is compressed."""
    part = next((part for each, part in _archive(deb) if each.startswith(f"{name}.tar")), None)
    if part is None:
        raise ValueError(f"it has no {name}.tar")
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
