"""A CycloneDX bill of materials: what a scanner found in an image, and the models, which it cannot see.

CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/), with models as components of type ``machine-learning-model`` (ML-BOM).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from enginewright.attest.model_parts import Part, combined, top

PREDICATE = "https://cyclonedx.org/bom"


def merge(found: Mapping[str, Any], parts: Sequence[Part], *, name: str, digest: str, created: str, version: str) -> bytes:
    """The document, sorted, the same bytes for the same image and models.

    ``found`` is what syft wrote; ``name`` and ``digest`` are the image's, ``created`` is its date, and ``version`` that of Enginewright.
    """
    root = {"bom-ref": "image", "type": "container", "name": name, "version": digest}
    tools = [*found["metadata"]["tools"]["components"], {"type": "application", "name": "enginewright", "version": version}]
    components = [each for each in found.get("components", ()) if each["type"] != "file"]
    system = sorted({each["bom-ref"] for each in components})
    known = {"image", *system, *(part.ref for part in parts)}
    edges = {each["ref"]: list(each.get("dependsOn", ())) for each in found.get("dependencies", ()) if each["ref"] in known}
    edges["image"] = [*system, *top(parts)]
    edges |= {part.ref: list(part.made_from) for part in parts}
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"timestamp": created, "tools": {"components": tools}, "component": root},
        "components": sorted([*components, *map(_component, parts)], key=lambda each: str(each["bom-ref"])),
        "dependencies": [{"ref": ref, "dependsOn": sorted(set(deps) & known)} for ref, deps in sorted(edges.items())],
    }
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(document, sort_keys=True)).urn
    return json.dumps(document, sort_keys=True, indent=1).encode() + b"\n"


def image_of(document: Mapping[str, Any]) -> str:
    """The digest of the image that a document is about, as `merge` writes it. Raises LookupError and TypeError where there is none."""
    return str(document["metadata"]["component"]["version"])


def _component(part: Part) -> dict[str, Any]:
    properties = {"enginewright:what": part.what, "enginewright:size": str(part.size)}
    properties |= {f"enginewright:{name}": value for name, value in (part.properties or {}).items()}
    component: dict[str, Any] = {
        "bom-ref": part.ref,
        "type": "machine-learning-model",
        "name": part.name,
        "version": f"sha256:{part.sha256}",
        "hashes": [{"alg": "SHA-256", "content": part.sha256}],
        "properties": [{"name": name, "value": value} for name, value in sorted(properties.items())],
    }
    if part.licenses:
        component["licenses"] = _licenses(part.licenses)
    if part.package:
        component["purl"] = part.package
    return component


def _licenses(licenses: Sequence[str]) -> list[dict[str, Any]]:
    """One expression, or names: the schema has no list of several expressions."""
    if together := combined(licenses):
        return [{"expression": together}]
    return [{"license": {"name": each}} for each in licenses]
