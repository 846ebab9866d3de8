"""Debian packages made for tests: small, and as dpkg-deb writes them."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path


def entry(name: str, content: bytes = b"", mode: int = 0o644, **more: object) -> tuple[tarfile.TarInfo, bytes]:
    """A member of data.tar: a file, or a folder or link where ``type`` says so."""
    info = tarfile.TarInfo(f"./{name}")
    info.mode, info.size, info.mtime = mode, len(content), 1_700_000_000
    for attribute, value in more.items():
        setattr(info, attribute, value)
    return info, content


def folder(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, mode=mode, type=tarfile.DIRTYPE)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=kind, linkname=target)


def make_deb(
    place: Path,
    name: str,
    entries: Iterable[tuple[tarfile.TarInfo, bytes]] = (),
    *,
    version: str = "1.0",
    architecture: str = "all",
    depends: str = "",
    compression: str = "xz",
    pack: Callable[[bytes], bytes] | None = None,
) -> Path:
    """Write a package. ``pack`` compresses data.tar where tarfile cannot (``compression`` is its suffix then)."""
    deb = place / f"{name}_{version.replace(':', '%3a')}_{architecture}.deb"
    control = control_of(name, version, architecture, depends)
    data = _tar(entries, "" if pack else compression)
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": _tar([entry("control", control.encode())], "gz"),
        f"data.tar.{compression}": pack(data) if pack else data,
    }
    archive = b"!<arch>\n"
    for part, content in parts.items():
        archive += f"{part:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content + b"\n" * (len(content) % 2)
    deb.write_bytes(archive)
    return deb


def control_of(name: str, version: str, architecture: str, depends: str) -> str:
    needs = f"Depends: {depends}\n" if depends else ""
    return f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: T <t@example.org>\n{needs}Description: a test\n"


def make_archive(place: Path, *debs: tuple[Path, str]) -> Path:
    """Write the index of an archive of these packages, each with its control data, and the sources.list that names it."""
    stanzas = []
    for deb, control in debs:
        data = deb.read_bytes()
        stanzas.append(f"{control}Filename: ./{deb.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n")
    (place / "Packages").write_text("\n".join(stanzas))
    sources = place / "sources.list"
    sources.write_text(f"deb [trusted=yes] file:{place} ./\n")
    return sources


def _tar(entries: Iterable[tuple[tarfile.TarInfo, bytes]], compression: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}") as tar:  # type: ignore[call-overload]
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()
