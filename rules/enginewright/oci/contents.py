"""What belongs to an image or an index: its manifests, and the blobs that they name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from enginewright.errors import ActionError
from enginewright.oci.layout import Descriptor, blob_path, read_json
from enginewright.oci.media import INDEX, INDEXES, MANIFESTS

_DEEPEST = 4
"""Indexes in indexes, at most."""

_NAMES = ("os", "architecture", "variant")
"""What a platform is told by, as OS/ARCHITECTURE/VARIANT."""


class Manifest(NamedTuple):
    """A manifest or an index, byte for byte, and its descriptor."""

    descriptor: Descriptor
    data: bytes

    def read(self) -> dict[str, Any]:
        """It as JSON. Raises ValueError."""
        return read_json(self.data)


@dataclass(frozen=True)
class Contents:
    """``manifests`` are in the order in which they can be pushed: each after those that it names. No blob is twice in ``blobs``."""

    manifests: tuple[Manifest, ...]
    blobs: tuple[Descriptor, ...]

    @property
    def root(self) -> Manifest:
        """What the others belong to: the last manifest."""
        return self.manifests[-1]


def read_contents(root: Manifest, fetch: Callable[[Descriptor], bytes], where: str) -> Contents:
    """Everything that a manifest or an index names; ``fetch`` gets other manifests.

    Raises ActionError, beginning with ``where``, for a manifest of an unknown type or one that is malformed.
    """
    manifests: dict[str, Manifest] = {}
    blobs: dict[str, Descriptor] = {}

    def visit(manifest: Manifest, depth: int) -> None:
        kind = manifest.descriptor.media_type
        if kind not in MANIFESTS | INDEXES:
            raise ActionError(f"{where}: {manifest.descriptor.digest} is a manifest of an unknown type, {kind!r}: {_KNOWN}")
        if depth > _DEEPEST:
            raise ActionError(f"{where}: indexes lie in indexes, {depth} deep")
        try:
            value = manifest.read()
            if kind in INDEXES:
                children = [Descriptor.from_json(each) for each in value["manifests"]]
            else:
                children = []
                for each in (value["config"], *value["layers"]):
                    blob = Descriptor.from_json(each)
                    if blobs.setdefault(blob.digest, blob).size != blob.size:
                        raise ValueError(f"it gives {blob.digest} two sizes")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else error
            raise ActionError(f"{where}: the manifest {manifest.descriptor.digest} is malformed: {reason}") from None
        for child in children:
            if child.digest not in manifests:
                visit(Manifest(child, fetch(child)), depth + 1)
        manifests[manifest.descriptor.digest] = manifest

    visit(root, 1)
    return Contents(tuple(manifests.values()), tuple(blobs.values()))


def read_layout_contents(layout: Path) -> Contents:
    """Everything that a layout is of: of its one manifest or index, or of the index that its ``index.json`` is. Blobs may be absent.

    Raises ActionError for a folder that is no layout, and for manifests that are not there or have other bytes.
    """
    try:
        data = (layout / "index.json").read_bytes()
        entries = Manifest(_describe(INDEX, data), data).read()["manifests"]
        root = Descriptor.from_json(entries[0]) if len(entries) == 1 else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ActionError(f"{layout} is not an image layout ({error})") from None

    def fetch(wanted: Descriptor) -> bytes:
        try:
            found = blob_path(layout, wanted.digest).read_bytes()
        except OSError as error:
            raise ActionError(f"{layout} lacks the manifest {wanted.digest}: {error.strerror}") from None
        if _describe(wanted.media_type, found) != wanted:
            raise ActionError(f"{layout}: the manifest {wanted.digest} has other bytes than its digest says: build it again")
        return found

    return read_contents(Manifest(root, fetch(root)) if root else Manifest(_describe(INDEX, data), data), fetch, str(layout))


def choose_platform(index: Mapping[str, Any], platform: str) -> Descriptor:
    """The image of an index for ``OS/ARCHITECTURE`` or ``OS/ARCHITECTURE/VARIANT``: the first that matches, as Docker chooses.

    Raises ValueError, with the platforms that there are.
    """
    there = []
    for entry in index["manifests"]:
        found = entry.get("platform") or {}
        if is_for(found, platform):
            return Descriptor.from_json(entry)
        if found.get("os", "") not in ("", "unknown"):
            there.append(in_text(found))
    raise ValueError(f"it has no image for {platform}; there are {', '.join(dict.fromkeys(there)) or 'none that name a platform'}")


def is_for(found: Mapping[str, Any], platform: str) -> bool:
    """Whether an image for the platform ``found``, as an index or a configuration has it, will do for ``platform``."""
    wanted = platform.split("/")
    return [found.get(name, "") for name in _NAMES][: len(wanted)] == wanted


def in_text(found: Mapping[str, Any]) -> str:
    """A platform, as an index or a configuration has it, as ``linux/amd64``, or with its variant."""
    return "/".join(str(found[name]) for name in _NAMES if found.get(name))


def _describe(media_type: str, data: bytes) -> Descriptor:
    return Descriptor(media_type, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))


_KNOWN = "OCI image manifests and indexes, and Docker's of version 2, are known"
