"""Wheels made for tests: small, and whole."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

BOTH = "py3-none-any"


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    files: Mapping[str, bytes] | None = None,
    *,
    tag: str = BOTH,
    requires: Sequence[str] = (),
    entry_points: str = "",
    date: tuple[int, int, int] = (2020, 1, 1),
) -> Path:
    """Write a wheel whose RECORD is right; ``files`` may lie in its .data folder, and those in ``scripts`` are executable."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {each}\n" for each in requires)
    content = {
        **(files if files is not None else {f"{name}/__init__.py": f"VERSION = {version!r}\n".encode()}),
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    if entry_points:
        content[f"{info}/entry_points.txt"] = entry_points.encode()
    record = "".join(f"{path},sha256={_hash(data)},{len(data)}\n" for path, data in content.items()) + f"{info}/RECORD,,\n"
    wheel = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in {**content, f"{info}/RECORD": record.encode()}.items():
            entry = zipfile.ZipInfo(path, (*date, 0, 0, 0))
            entry.external_attr = (0o755 if "/scripts/" in path else 0o644) << 16
            archive.writestr(entry, data)
    return wheel


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
