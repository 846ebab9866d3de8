"""Images from elsewhere: from layouts and archives, and what is wrong with some."""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import io
import json
import lzma
import os
import random
import shutil
import tarfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from enginewright.errors import ActionError
from enginewright.oci import base
from enginewright.oci.base import from_archive, from_layout, from_registry
from enginewright.oci.layout import Descriptor, blob_path, canonical_json, read_image, write_image, write_index
from enginewright.oci.media import CONFIG as CONFIG_TYPE
from enginewright.oci.media import LAYER, MANIFEST, REF_NAME
from enginewright.oci.registry.client import Client
from enginewright.oci.registry.reference import Reference
from scripted import Asked, Says, scripted

LAYERS = (b"the lower layer" * 100, b"the upper layer")


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def made(folder: Path, architecture: str = "amd64", annotations: Mapping[str, str] = {}) -> Path:
    """A layout with two layers (which are no archives: nobody looks into them here)."""
    folder.mkdir(parents=True)
    layers = []
    for data in LAYERS:
        path = folder / digest(data)[7:]
        path.write_bytes(data)
        layers.append((Descriptor(LAYER, digest(data), len(data)).to_json(), path))
    diff_ids = [digest(data) for data in LAYERS]
    config = {"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    write_image(folder / "layout", config, layers, annotations)
    for path in (folder / "layout/blobs/sha256").iterdir():
        if path.is_symlink():
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data)
    return folder / "layout"


def taken_in(layout: Path, tmp_path: Path, platform: str = "linux/amd64", pin: str = "") -> Path:
    from_layout(layout, platform, tmp_path / "base", pin)
    return tmp_path / "base"


def test_a_layout(tmp_path: Path) -> None:
    layout = made(tmp_path / "x")
    base = taken_in(layout, tmp_path)
    assert read_image(base) == read_image(layout).__class__(**{**vars(read_image(layout)), "entry": read_image(base).entry})
    assert [blob_path(base, layer.digest).read_bytes() for layer in read_image(base).layers] == list(LAYERS)


def test_an_index(tmp_path: Path) -> None:
    layouts = [made(tmp_path / "x"), made(tmp_path / "y", "arm64")]
    write_index(tmp_path / "both", layouts, {})
    top = json.loads((tmp_path / "both/index.json").read_bytes())["manifests"][0]["digest"]
    base = taken_in(tmp_path / "both", tmp_path, "linux/arm64", top)
    assert read_image(base).descriptor == read_image(layouts[1]).descriptor
    shutil.rmtree(base)
    with pytest.raises(ActionError, match="both: it has no image for linux/s390x; there are linux/amd64, linux/arm64"):
        taken_in(tmp_path / "both", tmp_path, "linux/s390x")


def test_all_of_an_image_in_a_registry_several_layers_at_a_time(tmp_path: Path) -> None:
    """One of them twice, as an empty layer often is."""
    layers = [Descriptor(LAYER, digest(data), len(data)) for data in (LAYERS[0], LAYERS[0], LAYERS[1])]
    diff_ids = [layer.digest for layer in layers]
    config = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": diff_ids}}).encode()
    described = Descriptor(CONFIG_TYPE, digest(config), len(config))
    manifest = canonical_json({"schemaVersion": 2, "config": described.to_json(), "layers": [layer.to_json() for layer in layers]})
    blobs = {digest(data): data for data in (config, *LAYERS)}
    together = threading.Barrier(2)

    def answer(asked: Asked) -> Says:
        if "/manifests/" in asked.path:
            return Says(200, manifest, {"Content-Type": MANIFEST})
        wanted = asked.path.rpartition("/")[2]
        if wanted != described.digest:
            together.wait(20)
        return Says(200, blobs[wanted])

    with scripted(answer) as server:
        from_registry(Client(), Reference.parse(f"{server.host}/x@{digest(manifest)}"), "linux/amd64", tmp_path / "base", shallow=False)
    assert len(server.asked) == 4
    assert [blob_path(tmp_path / "base", layer.digest).read_bytes() for layer in layers] == [LAYERS[0], LAYERS[0], LAYERS[1]]


def test_several_images_under_names_of_their_own(tmp_path: Path) -> None:
    """As `skopeo copy` to oci:FOLDER:TAG and `docker save` of several names make them."""
    layout = made(tmp_path / "x")
    first = json.loads((layout / "index.json").read_bytes())["manifests"][0]
    del first["platform"]
    other = read_image(made(tmp_path / "y", annotations={"a": "b"}))
    shutil.copy(blob_path(tmp_path / "y/layout", other.descriptor.digest), blob_path(layout, other.descriptor.digest))

    def named(*entries: Mapping[str, Any]) -> None:
        (layout / "index.json").write_bytes(
            canonical_json({"manifests": [{**entry, "annotations": {REF_NAME: f"v{number}"}} for number, entry in enumerate(entries)]})
        )

    named(first, first)
    assert read_image(taken_in(layout, tmp_path)).descriptor.digest == first["digest"]
    shutil.rmtree(tmp_path / "base")
    named(first, other.descriptor.to_json())
    assert read_image(taken_in(layout, tmp_path, pin=other.descriptor.digest)).descriptor == other.descriptor
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(
        ActionError, match=f"layout: its index.json names no one image: it names 2: say which with digest='{first['digest']}'"
    ):
        taken_in(layout, tmp_path)


def test_a_shallow_layout_stays_shallow(tmp_path: Path) -> None:
    layout = made(tmp_path / "x")
    lacking = read_image(layout).layers[0].digest
    blob_path(layout, lacking).unlink()
    with pytest.raises(ActionError, match=f"layout lacks the blob {lacking}: it was not copied whole"):
        taken_in(layout, tmp_path)
    shutil.rmtree(tmp_path / "base")
    index = json.loads((layout / "index.json").read_bytes())
    index["manifests"][0]["annotations"] = {REF_NAME: "ghcr.io/team/base@" + read_image(layout).descriptor.digest}
    (layout / "index.json").write_bytes(canonical_json(index))
    base = taken_in(layout, tmp_path)
    assert read_image(base).source == index["manifests"][0]["annotations"][REF_NAME]
    assert not blob_path(base, lacking).exists()


def damage(layout: Path, what: str) -> None:
    image = read_image(layout)
    layer, manifest = (blob_path(layout, each.digest) for each in (image.layers[0], image.descriptor))
    if what == "truncated":
        layer.write_bytes(layer.read_bytes()[:-1])
    elif what == "changed":
        layer.write_bytes(layer.read_bytes()[:-1] + b"!")
    elif what == "manifest":
        manifest.write_bytes(manifest.read_bytes().replace(b"2", b"3", 1))
    elif what == "no manifest":
        manifest.unlink()
    else:
        (layout / "index.json").write_text(what)


@pytest.mark.parametrize(
    ("what", "problem"),
    [  # what is none of these words, is written into index.json
        ("truncated", r"layout: sha256:\w+ has 1499 bytes, and should have 1500: it was cut off or changed"),
        ("changed", r"layout: sha256:\w+ has the digest sha256:\w+: it was changed"),
        ("manifest", r"layout: sha256:\w+ has the digest sha256:\w+: it was changed"),
        ("no manifest", r"layout lacks sha256:\w+: No such file"),
        ("[]", r"layout/index.json cannot be read: it is no JSON object"),
        ("[" * 100_000, r"layout/index.json cannot be read: it is nested too deep"),
        ('{"manifests": [{}]}', r"layout: its index.json names no one image: it lacks 'mediaType'"),
        ('{"manifests": ["x"]}', r"layout: its index.json names no one image: 'x' is no descriptor of a blob"),
        (
            '{"manifests": [{"mediaType": "a", "digest": 5, "size": 1}]}',
            r"layout: its index.json names no one image: 5 is not a SHA-256 digest",
        ),
    ],
)
def test_a_damaged_layout(tmp_path: Path, what: str, problem: str) -> None:
    layout = made(tmp_path / "x")
    damage(layout, what)
    with pytest.raises(ActionError, match=problem):
        taken_in(layout, tmp_path)


def test_another_digest_than_declared(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match=r"layout has the digest sha256:\w+, and is declared with sha256:0000"):
        taken_in(made(tmp_path / "x"), tmp_path, pin="sha256:" + "0" * 64)


def test_another_platform_than_declared(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="layout is an image for linux/amd64, and not for linux/arm64"):
        taken_in(made(tmp_path / "x"), tmp_path, "linux/arm64")


@pytest.mark.parametrize("media_type", ["application/vnd.docker.distribution.manifest.v1+prettyjws", "text/html"])
def test_a_manifest_of_an_unknown_type(tmp_path: Path, media_type: str) -> None:
    layout = made(tmp_path / "x")
    index = json.loads((layout / "index.json").read_bytes())
    index["manifests"][0]["mediaType"] = media_type
    (layout / "index.json").write_bytes(canonical_json(index))
    with pytest.raises(ActionError, match=f"is not that of an image: it is of an unknown type, '{media_type}'".replace("+", r"\+")):
        taken_in(layout, tmp_path)


def archive(path: Path, files: Mapping[str, bytes], links: Mapping[str, str] = {}) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, target in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return path


CONFIG = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [digest(data) for data in LAYERS]}}).encode()


def docker_files(**changes: Any) -> dict[str, bytes]:
    """What `docker save` of Docker 20.10 writes."""
    name = f"{digest(CONFIG)[7:]}.json"
    listed = [{"Config": name, "RepoTags": ["x:1"], "Layers": ["a/layer.tar", "b/layer.tar"]}]
    return {
        name: CONFIG,
        "a/layer.tar": LAYERS[0],
        "b/layer.tar": LAYERS[1],
        "manifest.json": json.dumps(listed).encode(),
        **changes,
    }


def unpacked(path: Path, tmp_path: Path, pin: str = "") -> Path:
    from_archive(path, "linux/amd64", tmp_path / "base", pin)
    return tmp_path / "base"


def test_an_archive_of_docker_save(tmp_path: Path) -> None:
    files = docker_files()
    (config,) = (name for name in files if name.endswith(".json") and name != "manifest.json")
    base = unpacked(archive(tmp_path / "x.tar", files), tmp_path, f"sha256:{config.removesuffix('.json')}")
    image = read_image(base)
    assert image.manifest["config"]["digest"] == f"sha256:{config.removesuffix('.json')}", "the image ID is kept"
    assert [blob_path(base, layer.digest).read_bytes() for layer in image.layers] == list(LAYERS)


def test_layers_that_are_links_in_an_archive(tmp_path: Path) -> None:
    """`docker save` writes the same layer once, and links the others to it."""
    with pytest.raises(ActionError, match=r"x.tar lacks manifest.json: it was not saved whole"):
        unpacked(archive(tmp_path / "x.tar", {}, {"manifest.json": "manifest.json"}), tmp_path)
    shutil.rmtree(tmp_path / "base")
    files = docker_files()
    moved = files.pop("a/layer.tar")
    base = unpacked(archive(tmp_path / "x.tar", {**files, "c/layer.tar": moved}, {"a/layer.tar": "../c/layer.tar"}), tmp_path)
    assert blob_path(base, digest(LAYERS[0])).read_bytes() == LAYERS[0]


def test_an_archive_of_a_layout(tmp_path: Path) -> None:
    layout = made(tmp_path / "x")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(layout, "./")
    base = unpacked(tmp_path / "x.tar", tmp_path)
    assert read_image(base).descriptor == read_image(layout).descriptor


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"readme": b""}, r"x.tar has neither an index.json nor a manifest.json: it is no archive of an image"),
        (docker_files(**{"manifest.json": b"{}"}), r"manifest.json in x.tar is not one of `docker save`"),
        (
            docker_files(**{"manifest.json": b'[{"RepoTags": ["a:1"]}, {"RepoTags": null}]'}),
            r"x.tar holds 2 images \(a:1, an image without",
        ),
        (docker_files(**{"b/layer.tar": b"another layer"}), r"x.tar: the layer b/layer.tar has the digest sha256:\w+, and should have"),
        (
            docker_files(**{"manifest.json": b'[{"Config": "c", "Layers": [{}, 5]}]', "c": CONFIG}),
            r"its layers are \[{}, 5\], which are no names",
        ),
        (docker_files(**{"manifest.json": b"[" * 100_000}), r"manifest.json in x.tar is not one of `docker save`"),
        (
            {name: data for name, data in docker_files().items() if name != "b/layer.tar"},
            r"x.tar lacks b/layer.tar: it was not saved whole",
        ),
    ],
)
def test_a_bad_archive(tmp_path: Path, files: Mapping[str, bytes], problem: str) -> None:
    with pytest.raises(ActionError, match=problem):
        unpacked(archive(tmp_path / "x.tar", files), tmp_path)


def test_an_archive_that_was_cut_off(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.tar", docker_files(**{"big": bytes(100_000)}))
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(ActionError, match=r"x.tar cannot be read as a tar archive, or ends too early"):
        unpacked(path, tmp_path)
    (tmp_path / "y.tar").write_bytes(b"no archive")
    with pytest.raises(ActionError, match=r"y.tar cannot be read as a tar archive, or ends too early: [^\n]+$"):
        unpacked(tmp_path / "y.tar", tmp_path)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_an_archive_that_is_damaged_in_its_compression(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = archive(tmp_path / "x.tar", {"big": bytes(random.Random(1).choices(b"abcd", k=1_000_000)), **docker_files()})
    packed = bytearray(pack(path.read_bytes()))
    path.write_bytes(packed)
    assert read_image(unpacked(path, tmp_path)).layers
    shutil.rmtree(tmp_path / "base")
    packed[len(packed) // 2 - 500 : len(packed) // 2] = bytes(500)
    path.write_bytes(packed)
    with pytest.raises(ActionError, match=r"x.tar (cannot be read as a tar archive|lacks|has)"):
        unpacked(path, tmp_path)


def test_a_disk_that_is_full_is_not_the_archives_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = archive(tmp_path / "x.tar", docker_files())
    monkeypatch.setattr(base, "_digest", full)
    with pytest.raises(OSError, match="No space left"):
        unpacked(path, tmp_path)


def test_another_image_id_than_declared(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match=r"x.tar has the digest sha256:\w+, and is declared with sha256:0000"):
        unpacked(archive(tmp_path / "x.tar", docker_files()), tmp_path, "sha256:" + "0" * 64)
