"""The same bill of materials as an SPDX document: SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/), as JSON."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from enginewright.attest.model_parts import Part, combined, expression, top

PREDICATE = "https://spdx.dev/Document"

_IMAGE = "SPDXRef-Image"


def merge(found: Mapping[str, Any], parts: Sequence[Part], *, name: str, digest: str, created: str, version: str) -> bytes:
    """The document, sorted, the same bytes for the same image and models. Its arguments are those of `cyclonedx.merge`."""
    old = next(each["relatedSpdxElement"] for each in found["relationships"] if each["relationshipType"] == "DESCRIBES")
    packages = [each for each in found["packages"] if each["SPDXID"] != old]
    image = {
        **_package(_IMAGE, name, digest, digest.removeprefix("sha256:")),
        "primaryPackagePurpose": "CONTAINER",
    }
    text = json.dumps(found["relationships"]).replace(f'"{old}"', f'"{_IMAGE}"')
    relationships = [*json.loads(text), *(_related(_IMAGE, "CONTAINS", _id(ref)) for ref in top(parts))]
    relationships += [_related(_id(part.ref), "GENERATED_FROM", _id(ref)) for part in parts for ref in part.made_from]
    document: dict[str, Any] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "creationInfo": {
            "created": created,
            "creators": sorted({*found["creationInfo"]["creators"], f"Tool: enginewright-{version}"}),
            "licenseListVersion": found["creationInfo"]["licenseListVersion"],
        },
        "packages": sorted([image, *packages, *map(_model, parts)], key=lambda each: str(each["SPDXID"])),
        "relationships": sorted(relationships, key=lambda each: json.dumps(each, sort_keys=True)),
    }
    for kept in ("files", "hasExtractedLicensingInfos"):
        if found.get(kept):
            document[kept] = sorted(found[kept], key=lambda each: json.dumps(each, sort_keys=True))
    number = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(document, sort_keys=True))
    document["documentNamespace"] = f"https://spdx.org/spdxdocs/{re.sub('[^A-Za-z0-9.-]+', '-', name)}-{number}"
    return json.dumps(document, sort_keys=True, indent=1).encode() + b"\n"


def image_of(document: Mapping[str, Any]) -> str:
    """The digest of the image that a document is about, as `merge` writes it. Raises LookupError and TypeError where there is none."""
    return {each["SPDXID"]: str(each["versionInfo"]) for each in document["packages"] if "versionInfo" in each}[_IMAGE]


def _model(part: Part) -> dict[str, Any]:
    other = [each for each in part.licenses if not expression(each)]
    package = _package(_id(part.ref), part.name, f"sha256:{part.sha256}", part.sha256)
    package |= {"licenseDeclared": combined(part.licenses) or "NOASSERTION", "primaryPackagePurpose": "FILE", "summary": part.what}
    if other:
        package["licenseComments"] = f"Its distribution says: {'; '.join(other)}"
    if part.package:
        package["externalRefs"] = [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": part.package}]
    return package


def _package(ref: str, name: str, version: str, sha256: str) -> dict[str, Any]:
    return {
        "SPDXID": ref,
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "checksums": [{"algorithm": "SHA256", "checksumValue": sha256}],
        "copyrightText": "NOASSERTION",
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "supplier": "NOASSERTION",
    }


def _related(one: str, how: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": how, "relatedSpdxElement": other}


def _id(ref: str) -> str:
    """A ref as an SPDX identifier: letters, digits, ``.`` and ``-``; different refs stay different."""
    return "SPDXRef-" + "".join(char if (char.isalnum() and char.isascii()) or char == "." else f"-{ord(char):x}-" for char in ref)
