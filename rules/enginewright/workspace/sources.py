"""Where the bytes of a source artifact lie on this machine."""

from __future__ import annotations

import functools
from importlib import metadata
from pathlib import Path

from enginewright.graph.action import Artifact


@functools.cache
def _distribution(name: str) -> metadata.Distribution:
    return metadata.distribution(name)


def locate(root: Path, artifact: Artifact) -> Path:
    """The file or folder of an artifact: in the workspace at ``root``, or in an installed distribution.

    Raises LookupError, saying what to install, when the distribution is not there. The file itself may not exist.
    """
    if not artifact.origin:
        return root / artifact.path
    name, _, path = artifact.origin.removeprefix("dist://").partition("/")
    try:
        return Path(str(_distribution(name).locate_file(path)))
    except metadata.PackageNotFoundError:
        raise LookupError(f"{artifact.origin}: the distribution {name!r} is not installed here: pip install {name}") from None
