"""The model part of bills of materials, and what makes them the same each time."""

from __future__ import annotations

import json
from typing import Any

from enginewright.attest import cyclonedx, spdx
from enginewright.attest.model_parts import model_parts, top

ABOUT: Any = {"name": "images/x:image", "digest": f"sha256:{'0' * 64}", "created": "1970-01-01T00:00:00Z", "version": "0.1.0"}
SYFT_CDX: dict[str, Any] = {
    "serialNumber": "urn:uuid:random", "metadata": {"timestamp": "now", "tools": {"components": []}, "component": {"bom-ref": "x"}},
    "components": [{"bom-ref": "b", "type": "library", "name": "b"}, {"bom-ref": "a", "type": "library", "name": "a"}],
    "dependencies": [{"ref": "a", "dependsOn": ["b", "gone"]}],
}  # fmt: skip
SYFT_SPDX: dict[str, Any] = {
    "creationInfo": {"created": "now", "creators": ["Tool: syft"], "licenseListVersion": "3.25"},
    "packages": [{"SPDXID": "SPDXRef-b", "name": "b"}, {"SPDXID": "SPDXRef-Root", "name": "/some/folder"}],
    "relationships": [
        {"spdxElementId": "SPDXRef-Root", "relationshipType": "CONTAINS", "relatedSpdxElement": "SPDXRef-b"},
        {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-Root"},
    ],
}


def target(label: str, output: str, inputs: dict[str, Any], **attributes: str) -> dict[str, Any]:
    made = {output: {"path": label, "sha256": label.encode().hex().ljust(64, "0")[:64], "size": 1}}
    return {"label": label, "inputs": inputs, "outputs": made, "attributes": attributes}


def made_by(label: str, output: str) -> dict[str, str]:
    return {"target": label, "output": output}


LINEAGE = {
    "targets": [
        target("m:weights", "checkpoint", {
            "src": {"source": "dist://d/w.pth", "sha256": "ab" * 32, "size": 9, "distribution": "d", "version": "1", "licence": "MIT"},
        }),
        target("m:onnx", "onnx", {"checkpoint": made_by("m:weights", "checkpoint"), "module": {"source": "m/net.py"}}),
        target("m:engine_sm_80", "engine", {"model": made_by("m:onnx", "onnx")}, arch="sm_80", backend="tensorrt_rtx"),
        target("i:layer", "layer", {"x": made_by("m:engine_sm_80", "engine")}),
    ]
}  # fmt: skip


def test_the_chain_and_its_licenses() -> None:
    parts = {part.ref: part for part in model_parts(LINEAGE, {})}
    assert {ref: part.made_from for ref, part in parts.items()} == {
        "source:dist://d/w.pth": (), "model:m:weights": ("source:dist://d/w.pth",),
        "model:m:onnx": ("model:m:weights",), "model:m:engine_sm_80": ("model:m:onnx",),
    }  # fmt: skip
    assert {part.licenses for part in parts.values()} == {("MIT",)}
    assert parts["source:dist://d/w.pth"].package == "pkg:pypi/d@1"
    assert top(list(parts.values())) == ["model:m:engine_sm_80"]
    declared = {part.name: part.licenses for part in model_parts(LINEAGE, {"m:onnx": "Apache-2.0"})}
    assert (declared["m:weights"], declared["m:onnx"], declared["m:engine_sm_80"]) == (("MIT",), ("Apache-2.0",), ("Apache-2.0",))


def test_nothing_of_a_run_is_in_cyclonedx() -> None:
    parts = model_parts(LINEAGE, {})
    text = cyclonedx.merge(SYFT_CDX, parts, **ABOUT)
    other = {**SYFT_CDX, "serialNumber": "urn:uuid:other", "components": SYFT_CDX["components"][::-1]}
    assert cyclonedx.merge(other, parts, **ABOUT) == text
    document = json.loads(text)
    assert document["serialNumber"].startswith("urn:uuid:") and "now" not in text.decode()
    edges = {each["ref"]: each["dependsOn"] for each in document["dependencies"]}
    assert edges["image"] == ["a", "b", "model:m:engine_sm_80"] and edges["a"] == ["b"]
    (engine,) = [each for each in document["components"] if each["name"] == "m:engine_sm_80"]
    assert {"name": "enginewright:arch", "value": "sm_80"} in engine["properties"]
    assert cyclonedx.merge(SYFT_CDX, parts[:-1], **ABOUT) != text


def test_nothing_of_a_run_is_in_spdx() -> None:
    parts = model_parts(LINEAGE, {})
    text = spdx.merge(SYFT_SPDX, parts, **ABOUT)
    assert b"now" not in text and b"/some/folder" not in text and b"SPDXRef-Root" not in text
    assert spdx.merge({**SYFT_SPDX, "packages": SYFT_SPDX["packages"][::-1]}, parts, **ABOUT) == text
    identifiers = [each["SPDXID"] for each in json.loads(text)["packages"]]
    assert len(set(identifiers)) == len(identifiers) == 6


def test_a_licence_that_is_no_expression() -> None:
    source = {**LINEAGE["targets"][0]["inputs"]["src"], "licence": "Apache License, but not for war"}
    lineage = {"targets": [{**LINEAGE["targets"][0], "inputs": {"src": source}}]}
    parts = model_parts(lineage, {})
    (component,) = [each for each in json.loads(cyclonedx.merge(SYFT_CDX, parts, **ABOUT))["components"] if each["name"] == "m:weights"]
    assert component["licenses"] == [{"license": {"name": "Apache License, but not for war"}}]
    (package,) = [each for each in json.loads(spdx.merge(SYFT_SPDX, parts, **ABOUT))["packages"] if each["name"] == "m:weights"]
    assert (package["licenseDeclared"], package["licenseComments"]) == (
        "NOASSERTION", "Its distribution says: Apache License, but not for war",
    )  # fmt: skip
