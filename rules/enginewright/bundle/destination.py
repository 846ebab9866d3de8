"""Where bundles are published: what every such place can do, and which place a text names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from enginewright.bundle.sums import Bundle
from enginewright.errors import WorkspaceError

LATEST = "latest"

Progress = Callable[[str, int, int], None]
"""Told of a file how many of its bytes have been sent, and how many there are."""


@dataclass(frozen=True)
class Published:
    """What publishing a bundle came to: where it lies, and how many files and bytes were sent, copied there, or there already."""

    place: str
    sent: int
    bytes_sent: int
    copied: int
    there: int


class Destination(Protocol):
    """A place that holds bundles, each in a folder of its name, and a pointer ``latest`` to one of them.

    Everything raises WorkspaceError, saying what was refused and by whom.
    """

    def publish(self, folder: Path, bundle: Bundle, progress: Progress) -> Published:
        """Put a bundle there, from a folder that holds it. Nobody sees it before it is whole."""

    def point(self, bundle: Bundle) -> None:
        """Have ``latest`` mean a bundle that is there, from one moment to the next."""


def open_destination(to: str, environment: Mapping[str, str]) -> Destination:
    """The destination that ``file:///FOLDER`` or ``s3://BUCKET/PREFIX`` names. Raises WorkspaceError for anything else."""
    from enginewright.bundle.folder import Folder

    try:
        parts = urlsplit(to)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return Folder(Path(parts.path))
    if parts.scheme == "s3" and parts.netloc and not parts.query and not parts.fragment and not {".", ".."} & set(parts.path.split("/")):
        from enginewright.bundle.s3 import open_bucket

        return open_bucket(parts.netloc, parts.path.strip("/"), environment)
    raise WorkspaceError(f"{to!r} is no place to publish to: write file:///FOLDER, with an absolute path, or s3://BUCKET/PREFIX")
