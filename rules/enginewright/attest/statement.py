"""in-toto statements: something said (the predicate) of artifacts that are named by digest (the subjects).

in-toto Attestation Framework, spec/v1/statement.md and resource_descriptor.md (https://github.com/in-toto/attestation).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from enginewright.bundle.sums import SUMS
from enginewright.oci.layout import canonical_json

STATEMENT = "https://in-toto.io/Statement/v1"

_STATEMENTS = "https://in-toto.io/Statement/"
"""What the type of a statement begins with; Cosign writes v0.1."""

Resource = dict[str, Any]
"""A ResourceDescriptor."""


def resource(name: str, sha256: str, **rest: Any) -> Resource:
    """A descriptor of something with a SHA-256."""
    return {"name": name, "digest": {"sha256": sha256}, **rest}


def statement(subjects: Sequence[Resource], predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    """A statement as canonical JSON."""
    return canonical_json({"_type": STATEMENT, "subject": list(subjects), "predicateType": predicate_type, "predicate": predicate})


def digests_of(said: Mapping[str, Any]) -> list[str]:
    """The digests that a statement is about, as ``sha256:...``. Raises LookupError, TypeError and ValueError for what is no statement."""
    if not str(said["_type"]).startswith(_STATEMENTS) or not isinstance(said["predicateType"], str):
        raise ValueError(said["_type"])
    return [f"sha256:{each['digest']['sha256']}" for each in said["subject"] if "sha256" in each["digest"]]


def subjects_of(lineage: Mapping[str, Any], layout: Path | None = None) -> list[Resource]:
    """What a lineage is of: an image by the digest of its manifest or index, a bundle by that of its list of files, else each file.

    ``layout`` is the layout of an image.
    """
    if layout is not None:
        return [resource(lineage["label"], image_digest(layout).removeprefix("sha256:"))]
    found = []
    for output in lineage["targets"][-1]["outputs"].values():
        files = output.get("files", {"": output})
        if SUMS in files:
            found.append(resource(output["path"], files[SUMS]["sha256"]))
            continue
        found += [resource(f"{output['path']}/{name}".rstrip("/"), each["sha256"]) for name, each in files.items()]
    return found


def image_digest(layout: Path) -> str:
    """The digest of the manifest, or of the index, in a layout: that of the image in any registry. Raises OSError and ValueError."""
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    return str(entry["digest"])


def sha256_of_bytes(data: bytes) -> str:
    """The SHA-256 of bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
