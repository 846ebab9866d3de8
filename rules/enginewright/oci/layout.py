"""OCI image layouts: an image as a folder that skopeo, podman, buildah and containerd read.

OCI image-spec, image-layout.md (https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md): ``oci-layout``,
``index.json`` and ``blobs/sha256/DIGEST``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginewright.errors import ActionError

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"

_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Descriptor:
    """What a blob is, its digest and its size in bytes (descriptor.md, "Properties").

    Raises ValueError for a digest that is not ``sha256:`` and 64 hexadecimal digits: it becomes a file's name.
    """

    media_type: str
    digest: str
    size: int

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.digest):
            raise ValueError(f"{self.digest!r} is not a SHA-256 digest")

    def to_json(self) -> dict[str, Any]:
        """The descriptor as a JSON object."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Descriptor:
        """Read a JSON object; properties other than these three are ignored."""
        return cls(value["mediaType"], value["digest"], value["size"])


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys and no whitespace, so that equal values have equal digests (considerations.md, "Canonicalization")."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def write_layout(
    folder: Path, config: Mapping[str, Any], layers: Sequence[tuple[Descriptor, Path]], annotations: Mapping[str, str]
) -> Descriptor:
    """Make ``folder``, a layout with one image, and return the descriptor of its manifest.

    ``config`` is the image configuration (config.md), with ``rootfs.diff_ids`` in the order of ``layers``; each layer is its
    descriptor and its blob, the lowest first. Blobs are not copied: the layout has symbolic links to them, and whoever keeps
    it puts the files in their place, as the sandbox does with links to inputs. ``annotations`` are the manifest's. Raises
    ActionError for a blob that has not the size its descriptor says.
    """
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for descriptor, blob in layers:
        _link_blob(blobs, descriptor, blob)
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _write_blob(blobs, CONFIG, config).to_json(),
        "layers": [descriptor.to_json() for descriptor, _ in layers],
    }
    if annotations:
        manifest["annotations"] = annotations
    described = _write_blob(blobs, MANIFEST, manifest)
    platform = {"architecture": config["architecture"], "os": config["os"]}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**described.to_json(), "platform": platform}]}
    (folder / "index.json").write_bytes(canonical_json(index))
    (folder / "oci-layout").write_bytes(canonical_json({"imageLayoutVersion": "1.0.0"}))
    return described


def _write_blob(blobs: Path, media_type: str, value: object) -> Descriptor:
    data = canonical_json(value)
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return Descriptor(media_type, f"sha256:{digest}", len(data))


def _link_blob(blobs: Path, descriptor: Descriptor, blob: Path) -> None:
    size = blob.stat().st_size
    if size != descriptor.size:
        raise ActionError(f"{blob.name} has {size} bytes, but its descriptor says {descriptor.size}: build the layer again")
    placed = blobs / descriptor.digest.removeprefix("sha256:")
    # Layers with different labels may still be the same bytes.
    if not placed.is_symlink():
        placed.symlink_to(blob.resolve())


def read_layout(folder: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The manifest and the configuration of the one image in a layout, and the manifest's digest.

    Raises ActionError for a folder that is no such layout.
    """
    try:
        (entry,) = json.loads((folder / "index.json").read_bytes())["manifests"]
        digest = Descriptor.from_json(entry).digest
        manifest = _read_blob(folder, digest)
        return manifest, _read_blob(folder, manifest["config"]["digest"]), digest
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ActionError(f"{folder} is not the layout of one image ({error}): build it again") from None


def _read_blob(folder: Path, digest: str) -> dict[str, Any]:
    content = (folder / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()
    return dict(json.loads(content))
