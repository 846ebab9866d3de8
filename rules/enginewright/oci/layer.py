"""Layers: an archive written in one pass with its digests, and the descriptor beside it.

The descriptor is an OCI descriptor (image-spec, descriptor.md) and ``diff_id``, the digest of the archive before compression
(config.md, "Layer DiffID"). Every target that makes a layer has outputs ``layer``, the blob, and ``descriptor``, this as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from enginewright.errors import ActionError
from enginewright.oci.compression import CODECS, new_blob, parse_compression
from enginewright.oci.layout import Descriptor, canonical_json, check_digest
from enginewright.oci.tar import Member, archive


@dataclass(frozen=True)
class Layer:
    """A layer by its descriptor and its diff_id."""

    descriptor: Descriptor
    diff_id: str


def write_layer(outputs: Mapping[str, Path], members: Iterable[Member], compression: str, mtime: int = 0) -> Layer:
    """Write ``members``, sorted as `archive` wants them, to the new file ``outputs["layer"]``, and ``outputs["descriptor"]``.

    ``compression`` is as `parse_compression` reads it; ``mtime`` is in seconds since 1970. Raises ActionError as `archive`.
    """
    chosen = parse_compression(compression)
    with new_blob(outputs["layer"], chosen) as blob:
        for part in archive(members, mtime):
            blob.write(part)
        written = blob.finish()
    layer = Layer(Descriptor(CODECS[chosen.codec].media_type, written.digest, written.size), written.diff_id)
    outputs["descriptor"].write_bytes(canonical_json({**layer.descriptor.to_json(), "diff_id": layer.diff_id}))
    return layer


def read_layer(descriptor: Path) -> Layer:
    """Read the file beside a layer. Raises ActionError for one that is no descriptor."""
    try:
        value = json.loads(descriptor.read_bytes())
        return Layer(Descriptor.from_json(value), check_digest(value["diff_id"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ActionError(f"{descriptor.name} does not describe a layer ({error}): build it again") from None
