"""sbom() with the real syft, and documents that the formats' own libraries take."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from scanned import declare
from throwaway import Workspace

SBOM = 'sbom(name="sbom", image=":image", licenses={":onnx": "apache-2.0 or mit"})\n'


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("sbom")
    made = Workspace(folder / "workspace", folder / "store", folder / "trace")
    made.write({"dodo.py": "", "pyproject.toml": '[tool.doit]\nloader = "enginewright"\n'})
    declare(made, SBOM)
    made.doit("build", "models/x:sbom")
    return made


def test_cyclonedx(workspace: Workspace) -> None:
    text = workspace.read("build/models/x/sbom.cdx.json")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    found = {each["name"]: each for each in document["components"]}
    assert {name: each["type"] for name, each in found.items()} == {
        "openssl": "library", "zlib1g": "library", "idna": "library", "debian": "operating-system",
        "models/x:onnx": "machine-learning-model", "models/x/net.onnx": "machine-learning-model",
    }  # fmt: skip
    onnx = found["models/x:onnx"]
    assert onnx["hashes"] == [{"alg": "SHA-256", "content": sha256(workspace, "build/models/x/onnx.onnx")}]
    assert onnx["licenses"] == [{"expression": "Apache-2.0 OR MIT"}]
    edges = {each["ref"]: each["dependsOn"] for each in document["dependencies"]}
    assert onnx["bom-ref"] in edges["image"] and edges[onnx["bom-ref"]] == [found["models/x/net.onnx"]["bom-ref"]]
    assert document["metadata"]["component"]["version"] == digest(workspace)


def test_spdx(workspace: Workspace) -> None:
    path = workspace.root / "build/models/x/sbom.spdx.json"
    document = parse_file(str(path))
    assert validate_full_spdx_document(document) == []
    found: dict[str, Any] = {each.name: each for each in document.packages}
    assert found.keys() == {"openssl", "zlib1g", "idna", "models/x:onnx", "models/x/net.onnx", "models/x:image"}
    assert str(found["models/x:onnx"].license_declared) == "Apache-2.0 OR MIT"
    related = {(each.spdx_element_id, each.relationship_type.name, each.related_spdx_element_id) for each in document.relationships}
    onnx, source = found["models/x:onnx"].spdx_id, found["models/x/net.onnx"].spdx_id
    assert {
        ("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image"),
        ("SPDXRef-Image", "CONTAINS", onnx),
        (onnx, "GENERATED_FROM", source),
    } <= related


def test_the_same_elsewhere(workspace: Workspace, tmp_path: Path) -> None:
    other = workspace.clone(tmp_path / "other", tmp_path / "store")
    other.environment |= {"TZ": "Asia/Tokyo", "LC_ALL": "C", "HOME": str(tmp_path)}
    other.doit("build", "models/x:sbom")
    for name in ("sbom.cdx.json", "sbom.spdx.json"):
        assert other.read(f"build/models/x/{name}") == workspace.read(f"build/models/x/{name}")
        assert not re.search(str(tmp_path), other.read(f"build/models/x/{name}"))


def test_mistakes(workspace: Workspace, tmp_path: Path) -> None:
    other = workspace.clone(tmp_path / "other")
    declare(other, SBOM.replace("apache-2.0 or mit", "do as you like"))
    assert "licenses['models/x:onnx']: 'do as you like' is no SPDX licence expression" in other.refuse("build")
    declare(other, SBOM.replace('":onnx"', '":system"'))
    text = other.doit("build", "models/x:sbom", code=1).stdout
    assert "licenses: models/x:system is no checkpoint, ONNX model or engine that models/x:image is made from" in text


def sha256(workspace: Workspace, path: str) -> str:
    return hashlib.sha256((workspace.root / path).read_bytes()).hexdigest()


def digest(workspace: Workspace) -> str:
    return str(json.loads(workspace.read("build/models/x/image/index.json"))["manifests"][0]["digest"])
