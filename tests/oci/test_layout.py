"""Image layouts: every blob is named by its digest, and layers are linked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enginewright.errors import ActionError
from enginewright.oci.layout import Descriptor, blob_path, canonical_json, read_image, write_image
from enginewright.oci.media import CONFIG, INDEX, LAYER, MANIFEST

CONFIGURATION = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}


def blob(path: Path, data: bytes) -> tuple[dict[str, Any], Path]:
    path.write_bytes(data)
    return Descriptor(LAYER, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data)).to_json(), path


def read(layout: Path, descriptor: dict[str, Any]) -> Any:
    data = (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
    assert len(data) == descriptor["size"]
    return json.loads(data)


def test_a_layout(tmp_path: Path) -> None:
    layers = [blob(tmp_path / "low", b"low"), blob(tmp_path / "high", b"higher")]
    layout = tmp_path / "layout"
    manifest_descriptor = write_image(layout, CONFIGURATION, layers, {"org.opencontainers.image.title": "minilm"})
    assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((layout / "index.json").read_bytes())
    assert index == {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{**manifest_descriptor.to_json(), "platform": {"architecture": "amd64", "os": "linux"}}],
    }
    manifest = read(layout, index["manifests"][0])
    assert (manifest["schemaVersion"], manifest["mediaType"], manifest["config"]["mediaType"]) == (2, MANIFEST, CONFIG)
    assert manifest["annotations"] == {"org.opencontainers.image.title": "minilm"}
    assert manifest["layers"] == [descriptor for descriptor, _ in layers]
    assert read(layout, manifest["config"]) == CONFIGURATION
    blobs = list((layout / "blobs" / "sha256").iterdir())
    assert len(blobs) == 4
    for each in blobs:
        assert each.name == hashlib.sha256(each.read_bytes()).hexdigest()
    assert sorted(path.name for path in layout.iterdir()) == ["blobs", "index.json", "oci-layout"]


def test_the_same_image_is_the_same_bytes(tmp_path: Path) -> None:
    layers = [blob(tmp_path / "layer", b"layer")]
    first = write_image(tmp_path / "a", CONFIGURATION, layers, {"a": "1", "b": "2"})
    second = write_image(tmp_path / "b", dict(reversed(CONFIGURATION.items())), layers, {"b": "2", "a": "1"})
    assert first == second
    assert (tmp_path / "a" / "index.json").read_bytes() == (tmp_path / "b" / "index.json").read_bytes()


def test_blobs_are_symbolic_links_to_what_a_symbolic_link_leads_to(tmp_path: Path) -> None:
    descriptor, path = blob(tmp_path / "blob", b"layer")
    (tmp_path / "input").symlink_to(path)
    write_image(tmp_path / "layout", CONFIGURATION, [(descriptor, tmp_path / "input")], {})
    placed = tmp_path / "layout" / "blobs" / descriptor["digest"].replace(":", "/")
    assert placed.readlink() == path


def test_two_layers_with_the_same_bytes(tmp_path: Path) -> None:
    layers = [blob(tmp_path / "one", b"same"), blob(tmp_path / "two", b"same")]
    manifest = write_image(tmp_path / "layout", CONFIGURATION, layers, {})
    assert len(read(tmp_path / "layout", manifest.to_json())["layers"]) == 2


def test_a_blob_that_is_not_the_size_it_should_be(tmp_path: Path) -> None:
    descriptor, path = blob(tmp_path / "blob", b"layer")
    path.write_bytes(b"lay")
    with pytest.raises(ActionError, match="has 3 bytes, but its descriptor says 5"):
        write_image(tmp_path / "layout", CONFIGURATION, [(descriptor, path)], {})


def test_descriptors_as_json() -> None:
    descriptor = Descriptor(LAYER, "sha256:" + "0" * 64, 5)
    assert Descriptor.from_json(json.loads(canonical_json({**descriptor.to_json(), "diff_id": "x"}))) == descriptor


@pytest.mark.parametrize("digest", ["sha256:../../etc/passwd", "sha512:" + "0" * 128, "0" * 64, "sha256:" + "A" * 64])
def test_a_digest_that_cannot_name_a_blob(digest: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256 digest"):
        Descriptor(LAYER, digest, 5)


def test_canonical_json() -> None:
    assert canonical_json({"b": [1, "é"], "a": None}) == '{"a":null,"b":[1,"é"]}'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_layouts_that_are_read(tmp_path: Path) -> None:
    layers = [blob(tmp_path / "layer", b"layer")]
    digest = layers[0][0]["digest"]
    config = {**CONFIGURATION, "rootfs": {"type": "layers", "diff_ids": [digest]}, "history": [{"created_by": "x:y"}]}
    written = write_image(tmp_path / "layout", config, layers, {"a": "b"})
    image = read_image(tmp_path / "layout")
    assert image.descriptor == written and image.config == config and image.manifest["annotations"] == {"a": "b"}
    assert (image.diff_ids, image.made_by, image.source) == ([digest], ["x:y"], "")
    assert [layer.to_json() for layer in image.layers] == [layers[0][0]]


ARTIFACT = "application/vnd.example.artifact"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda entry, manifest, config: entry.update(mediaType=ARTIFACT), f"is a {ARTIFACT}, not the manifest of an image"),
        (
            lambda entry, manifest, config: entry.update(mediaType="application/vnd.docker.distribution.manifest.v1+json"),
            "not the manifest",
        ),
        (lambda entry, manifest, config: manifest["config"].update(mediaType=ARTIFACT), f"its configuration is a {ARTIFACT}"),
        (lambda entry, manifest, config: manifest["layers"][0].update(mediaType=ARTIFACT), f"is a {ARTIFACT}, which is no layer"),
        (lambda entry, manifest, config: config["rootfs"].update(diff_ids=[]), "its manifest has 1 layers, its configuration 0"),
        (lambda entry, manifest, config: config["rootfs"].update(diff_ids=["../../x"]), "'../../x' is not a SHA-256 digest"),
        (lambda entry, manifest, config: manifest["layers"][0].update(digest="sha256:../../etc"), "is not a SHA-256 digest"),
        (lambda entry, manifest, config: manifest.pop("layers"), "it lacks 'layers'"),
        (lambda entry, manifest, config: config.pop("os"), "it lacks 'os'"),
        (lambda entry, manifest, config: config.update(rootfs=None), "NoneType"),
        (lambda entry, manifest, config: manifest.update(layers=[1]), "1 is no descriptor of a blob"),
        (lambda entry, manifest, config: manifest["layers"][0].update(size="5"), "'5' is no size of a blob"),
        (lambda entry, manifest, config: manifest["layers"][0].update(size=5.0), "5.0 is no size of a blob"),
        (lambda entry, manifest, config: manifest["layers"][0].update(mediaType=[]), "[] is no media type"),
        (lambda entry, manifest, config: entry.update(annotations=["x"]), "its annotations: ['x'] is no object of JSON"),
        (lambda entry, manifest, config: manifest.update(annotations=5), "its annotations: 5 is no object of JSON"),
        (lambda entry, manifest, config: config.update(config=[1]), "its config: [1] is no object of JSON"),
        (lambda entry, manifest, config: config.update(config={"Env": "A=b"}), "its Env: 'A=b' is no list of JSON"),
        (lambda entry, manifest, config: config.update(config={"Cmd": [1]}), "its Env, Entrypoint or Cmd has entries that are no text"),
        (lambda entry, manifest, config: config.update(history=5), "its history: 5 is no list of JSON"),
        (lambda entry, manifest, config: config.update(history=["x"]), "its history has entries that are no objects"),
    ],
)
def test_layouts_that_are_no_images(tmp_path: Path, change: Callable[..., object], problem: str) -> None:
    descriptor, path = blob(tmp_path / "layer", b"layer")
    config: dict[str, Any] = {**CONFIGURATION, "rootfs": {"type": "layers", "diff_ids": [descriptor["digest"]]}}
    layout = tmp_path / "layout"
    write_image(layout, config, [(descriptor, path)], {})
    index = json.loads((layout / "index.json").read_bytes())
    (entry,) = index["manifests"]
    manifest = read(layout, entry)
    change(entry, manifest, config)
    for named, value in ((manifest["config"], config), (entry, manifest)):
        data = canonical_json(value)
        named.update(digest=f"sha256:{hashlib.sha256(data).hexdigest()}", size=len(data))
        blob_path(layout, named["digest"]).write_bytes(data)
    (layout / "index.json").write_bytes(canonical_json(index))
    with pytest.raises(ActionError, match=r"layout is not the layout of an image \(") as caught:
        read_image(layout)
    assert problem in str(caught.value)


@pytest.mark.parametrize("damage", ["missing", "longer", "changed", "no index", "no JSON", "empty", "deep"])
def test_layouts_that_are_damaged(tmp_path: Path, damage: str) -> None:
    layout = tmp_path / "layout"
    manifest = blob_path(layout, write_image(layout, CONFIGURATION, [], {}).digest)
    if damage == "missing":
        manifest.unlink()
    elif damage == "no index":
        (layout / "index.json").unlink()
    elif damage in ("no JSON", "empty", "deep"):
        (layout / "index.json").write_text({"no JSON": "{", "empty": '{"manifests": []}', "deep": "[" * 100_000}[damage])
    else:
        content = manifest.read_bytes()
        manifest.write_bytes(content + b" " if damage == "longer" else content.replace(b"config", b"konfig"))
    with pytest.raises(ActionError, match=r"layout is not the layout of an image \("):
        read_image(layout)
