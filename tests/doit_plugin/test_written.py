"""Inputs that the build itself writes: lineages, and the day."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

from throwaway import Workspace

BUILD = """
from enginewright import files_layer, image, model_bundle, provenance, python_action

python_action(name="a", function="make.py:copy", inputs={"src": "src.txt"}, outputs={"out": "out.txt"})
python_action(name="b", function="make.py:copy", inputs={"src": ":a"}, outputs={"out": "out.txt"}, params={"times": 2}, packages=["xxhash"])
files_layer(name="layer", files={"/b": ":b"})
image(name="image", layers=[":layer"])
model_bundle(name="bundle", files={"b": ":b"})
provenance(name="of_image", subject=":image", builder="https://ci.example/builders/1")
provenance(name="of_bundle", subject=":bundle")
provenance(name="of_b", subject=":b")
"""

TARGETS = ("a", "b", "layer", "image", "bundle", "of_image", "of_bundle", "of_b")


@pytest.fixture
def workspace(empty: Workspace) -> Workspace:
    empty.write({"models/p/BUILD.py": BUILD, "models/p/make.py": empty.make, "models/p/src.txt": "# comment\none\n"})
    return empty


def statement(workspace: Workspace, name: str) -> dict[str, Any]:
    """A statement that in-toto's own schemas take."""
    found: dict[str, Any] = json.loads(workspace.read(f"build/models/p/{name}.json"))
    Statement.copy_from_pb(json_format.ParseDict(found, statement_pb2.Statement())).validate()
    json_format.ParseDict(found["predicate"], provenance_pb2.Provenance())
    return found


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_whole_chain(workspace: Workspace) -> None:
    workspace.build()
    found = statement(workspace, "of_image")
    index = json.loads(workspace.read("build/models/p/image/index.json"))
    assert found["subject"] == [{"name": "models/p:image", "digest": {"sha256": index["manifests"][0]["digest"].removeprefix("sha256:")}}]
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    definition, details = found["predicate"]["buildDefinition"], found["predicate"]["runDetails"]
    named = {each["name"]: each["digest"]["sha256"] for each in definition["resolvedDependencies"] if "name" in each}
    assert named == {f"models/p/{name}": sha256(workspace.root / "models/p" / name) for name in ("src.txt", "make.py")}
    assert any(each.get("uri", "").startswith("pkg:pypi/xxhash@") for each in definition["resolvedDependencies"])
    assert list(definition["internalParameters"]["actions"]) == ["models/p:a", "models/p:b", "models/p:image", "models/p:layer"]
    assert definition["internalParameters"]["actions"]["models/p:b"]["inputs"]["input/src"] == "models/p:a out"
    made = {each["name"]: each["digest"]["sha256"] for each in details["byproducts"]}
    assert made.keys() == {f"build/models/p/{name}" for name in ("a/out.txt", "b/out.txt", "layer.tar", "layer.json")}
    assert all(sha256(workspace.root / name) == digest for name, digest in made.items())
    assert details["builder"]["id"] == "https://ci.example/builders/1"


def test_of_a_bundle_and_of_files(workspace: Workspace) -> None:
    workspace.build()
    bundle = sha256(workspace.root / "build/models/p/bundle/SHA256SUMS")
    assert statement(workspace, "of_bundle")["subject"] == [{"name": "build/models/p/bundle", "digest": {"sha256": bundle}}]
    (subject,) = statement(workspace, "of_b")["subject"]
    assert subject == {"name": "build/models/p/b/out.txt", "digest": {"sha256": sha256(workspace.root / subject["name"])}}


def test_the_same_elsewhere(workspace: Workspace, tmp_path: Path) -> None:
    workspace.build()
    text = workspace.read("build/models/p/of_image.json")
    assert str(tmp_path) not in text
    other = workspace.clone(tmp_path / "other", tmp_path / "another store")
    other.write({"models/p/make.py": workspace.make})
    other.doit("build")
    assert other.read("build/models/p/of_image.json") == text
    beside = workspace.clone(tmp_path / "beside")
    assert beside.build().ran == set()
    assert beside.read("build/models/p/of_image.json") == text


def test_nothing_to_do(workspace: Workspace) -> None:
    workspace.build()
    assert workspace.build().up_to_date == {f"models/p:{name}" for name in TARGETS}
    assert workspace.doit("build").stdout.startswith("built 0, cached 0, up to date 8, skipped 0, failed 0")


def test_what_led_to_the_same_bytes_is_told(workspace: Workspace) -> None:
    """A comment changes nothing from b on, but where it all comes from has changed."""
    workspace.build()
    before = statement(workspace, "of_image")
    workspace.write({"models/p/src.txt": "# another comment\none\n"})
    report = workspace.build()
    assert report.built == {"models/p:a", "models/p:of_image", "models/p:of_bundle", "models/p:of_b"}
    after = statement(workspace, "of_image")
    assert after["subject"] == before["subject"]
    assert after["predicate"]["buildDefinition"]["resolvedDependencies"] != before["predicate"]["buildDefinition"]["resolvedDependencies"]
    workspace.write({"models/p/src.txt": "# comment\none\n"})
    assert workspace.build().ran == set()
    assert statement(workspace, "of_image") == before


def test_without_records(workspace: Workspace) -> None:
    """Of targets that are up to date all is known, whatever the store has lost."""
    workspace.build()
    before = workspace.read("build/models/p/of_image.json")
    for record in (workspace.store / "actions").rglob("*.json"):
        record.unlink()
    (workspace.root / "build/models/p/of_image.json").unlink()
    (workspace.root / "build/.enginewright/sha256.json").write_text("damaged")
    for blob in (workspace.store / "blobs").rglob(hash_of(before)):
        blob.unlink()
    assert workspace.build().built == {"models/p:of_image"}
    assert workspace.read("build/models/p/of_image.json") == before


def hash_of(text: str) -> str:
    import xxhash

    return xxhash.xxh3_128_hexdigest(text.encode())


def test_why(workspace: Workspace) -> None:
    workspace.build()
    workspace.write({"models/p/src.txt": "# another comment\none\n"})
    assert workspace.doit("why", "models/p:of_b").stdout == "models/p:of_b may have to run\n"
    workspace.build()
    assert "external/lineage/models/p/b.json" in workspace.doit("why", "models/p:of_b").stdout


def test_mistakes(workspace: Workspace) -> None:
    workspace.write({"models/p/BUILD.py": BUILD + 'provenance(name="p", subject=":of_b", builder="me")\n'})
    assert "provenance(name='p'): builder: expected a URI" in workspace.refuse("build")
    workspace.write({"models/p/BUILD.py": BUILD + 'provenance(name="p", subject=":nothing")\n'})
    assert "provenance(name='p'): subject: there is no target 'models/p:nothing'" in workspace.refuse("build")


def test_what_verify_found(workspace: Workspace) -> None:
    workspace.build()
    actions = statement(workspace, "of_b")["predicate"]["buildDefinition"]["internalParameters"]["actions"]
    assert {each["reproducible"] for each in actions.values()} == {""}
    workspace.doit("verify", "models/p:b")
    report = workspace.build()
    assert {"models/p:of_b", "models/p:of_image", "models/p:of_bundle"} == report.built
    actions = statement(workspace, "of_b")["predicate"]["buildDefinition"]["internalParameters"]["actions"]
    assert actions["models/p:b"]["reproducible"] == "bit"
    assert workspace.doit("build").stdout.startswith("built 0, cached 0, up to date 8")
