"""model_image(): the targets it stands for, and the image they make together."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from enginewright.errors import DeclarationError
from enginewright.graph.dag import Graph, analyse
from enginewright.graph.label import Label
from enginewright.oci.layout import read_image, read_images
from enginewright.rules.model_image import model_image
from stand_ins import FACTS, build, build_file, engines


def declared(**attributes: Any) -> Graph:
    with build_file("models/minilm") as model:
        engines(name="engine", archs=("sm_120", "sm_80", "sm_89"))
    with build_file("images/search") as image:
        model_image(name="image", **{"engines": "models/minilm:engine", **attributes})
    return analyse({"images/search": image, "models/minilm": model})


def layers(layout: Path) -> list[dict[str, bytes]]:
    """The files of each layer of the image, the lowest first."""

    def blob(descriptor: dict[str, Any]) -> Path:
        return layout / "blobs" / str(descriptor["digest"]).replace(":", "/")

    index = json.loads((layout / "index.json").read_bytes())
    found = []
    for descriptor in json.loads(blob(index["manifests"][0]).read_bytes())["layers"]:
        with tarfile.open(blob(descriptor)) as tar:
            found.append({member.name: tar.extractfile(member).read() for member in tar if member.isreg()})  # type: ignore[union-attr]
    return found


def test_targets() -> None:
    graph = declared()
    assert {label.name: target.kind for label, target in graph.targets.items() if label.name.startswith("image")} == {
        "image": "image",
        "image.layer_sm_80": "files_layer",
        "image.layer_sm_89": "files_layer",
        "image.layer_sm_120": "files_layer",
        "image.manifest": "engine_manifest",
        "image.layer_manifest": "files_layer",
    }
    assert [label.name for label in graph.targets[Label("images/search", "image")].deps] == [
        "image.layer_sm_80",
        "image.layer_sm_89",
        "image.layer_sm_120",
        "image.layer_manifest",
    ]
    # A change of one engine leaves the layers of the others alone.
    assert graph.targets[Label("images/search", "image.layer_sm_80")].deps == (Label("models/minilm", "engine_sm_80"),)


def test_the_image(tmp_path: Path) -> None:
    build(declared(), tmp_path)
    *by_arch, top = layers(tmp_path / "build/images/search/image")
    for arch, files in zip(("sm_80", "sm_89", "sm_120"), by_arch, strict=True):
        assert files.keys() == {f"models/minilm/engine_{arch}.engine", f"models/minilm/engine_{arch}.json"}
        assert files[f"models/minilm/engine_{arch}.engine"] == f"engine for {arch}".encode()
    assert top.keys() == {"models/minilm/manifest.json"}
    manifest = json.loads(top["models/minilm/manifest.json"])
    assert manifest["format"] == 1
    assert manifest["engines"].keys() == {"sm_80", "sm_89", "sm_120"}
    assert manifest["engines"]["sm_120"] == {
        "engine": "engine_sm_120.engine",
        "sidecar": "engine_sm_120.json",
        "sha256": hashlib.sha256(b"engine for sm_120").hexdigest(),
        "size": len(b"engine for sm_120"),
        **FACTS,
    }


def test_the_same_twice(tmp_path: Path) -> None:
    graph = declared()
    build(graph, tmp_path / "a")
    build(graph, tmp_path / "b")
    index = "build/images/search/image/index.json"
    assert (tmp_path / "a" / index).read_bytes() == (tmp_path / "b" / index).read_bytes()


def test_another_folder(tmp_path: Path) -> None:
    build(declared(folder="/srv/engines"), tmp_path)
    found = layers(tmp_path / "build/images/search/image")
    assert {path.rpartition("/")[0] for files in found for path in files} == {"srv/engines"}


@pytest.mark.parametrize("folder", ["models", "/models/", "/", "/a/../b", "/a//b"])
def test_a_folder_that_is_none(folder: str) -> None:
    with pytest.raises(DeclarationError, match=r"model_image\(name='image'\): folder: expected an absolute path"):
        declared(folder=folder)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (":image", "engines: images/search:image is a model_image, which makes no engines: name a tensorrt_engine"),
        ("models/minilm:engin", "engines: there is no target 'models/minilm:engin' .did you mean 'engine'"),
        ("models/other:engine", "engines: there is no package 'models/other'"),
    ],
)
def test_no_engines(label: str, message: str) -> None:
    with pytest.raises(DeclarationError, match=rf"^images/search/BUILD.py:\d+: model_image\(name='image'\): {message}"):
        declared(engines=label)


def test_an_image_for_each_architecture(tmp_path: Path) -> None:
    graph = declared(per_arch=True, compression="gzip", annotations={"org.opencontainers.image.title": "minilm"})
    build(graph, tmp_path)
    folder = tmp_path / "build/images/search"
    images = read_images(folder / "image")
    assert [image.manifest["annotations"] for image in images] == [
        {"org.opencontainers.image.title": "minilm", "dev.enginewright.gpu.architecture": arch} for arch in ("sm_80", "sm_89", "sm_120")
    ]
    assert [image.entry["annotations"] for image in images] == [image.manifest["annotations"] for image in images]
    for arch, image in zip(("sm_80", "sm_89", "sm_120"), images):
        assert read_image(folder / f"image_{arch}").descriptor == image.descriptor
        engine, top = layers(folder / f"image_{arch}")
        assert engine.keys() == {f"models/minilm/engine_{arch}.engine", f"models/minilm/engine_{arch}.json"}
        assert json.loads(top["models/minilm/manifest.json"])["engines"].keys() == {arch}
        assert {layer.media_type.rpartition(".")[2] for layer in image.layers} == {"tar+gzip"}
    # A new engine is one new image, and the index.
    changed = graph.dependents([Label("models/minilm", "engine_sm_80")])
    assert {label.name for label in changed if label.package == "images/search"} == {
        "image.layer_sm_80", "image_sm_80.manifest", "image_sm_80.layer_manifest", "image_sm_80", "image",
    }  # fmt: skip


def test_a_compression_that_is_none() -> None:
    with pytest.raises(DeclarationError, match=r"model_image\(name='image'\): compression: 'lz4' is no compression of layers"):
        declared(compression="lz4")
