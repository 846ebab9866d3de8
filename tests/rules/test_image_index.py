"""image_index(): the index over images, and what it refuses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enginewright import image_index
from enginewright.errors import ActionError, DeclarationError
from enginewright.graph.action import Artifact
from enginewright.graph.label import Label
from enginewright.graph.rule import Context
from enginewright.oci.layout import Descriptor, read_image, read_images, write_image
from enginewright.oci.media import INDEX, LAYER
from enginewright.rules.image_index import assemble


def layout(folder: Path, architecture: str, annotations: dict[str, str], shared: bytes = b"shared") -> Path:
    """The layout of an image with one layer."""
    blob = folder.with_suffix(".tar")
    blob.write_bytes(shared)
    digest = f"sha256:{hashlib.sha256(shared).hexdigest()}"
    config = {"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest]}}
    write_image(folder, config, [(Descriptor(LAYER, digest, len(shared)).to_json(), blob)], annotations)
    return folder


def test_inputs_and_output(declare: Callable[..., Any]) -> None:
    made = declare(image_index, name="all", images=[":a", "images/y:b"], annotations={"a": "b"}).action(
        Context(Label("models/x", "all"), lambda label: {"layout": Artifact(f"build/{label.package}/{label.name}", tree=True)})
    )
    assert made.inputs == {"image_0": Artifact("build/models/x/a", tree=True), "image_1": Artifact("build/images/y/b", tree=True)}
    assert made.outputs == {"layout": Artifact("build/models/x/all", tree=True)} and made.params == {"annotations": {"a": "b"}}


def test_an_index(tmp_path: Path) -> None:
    images = [
        layout(tmp_path / "sm_80", "amd64", {"arch": "sm_80"}),
        layout(tmp_path / "sm_90", "amd64", {"arch": "sm_90"}),
        layout(tmp_path / "arm", "arm64", {}),
    ]
    folder = tmp_path / "index"
    assemble({f"image_{number}": image for number, image in enumerate(images)}, {"layout": folder}, {"annotations": {"title": "all"}})
    (entry,) = json.loads((folder / "index.json").read_bytes())["manifests"]
    assert entry["mediaType"] == INDEX
    index = json.loads((folder / "blobs" / entry["digest"].replace(":", "/")).read_bytes())
    assert index["annotations"] == {"title": "all"}
    assert [(each["platform"]["architecture"], each.get("annotations")) for each in index["manifests"]] == [
        ("amd64", {"arch": "sm_80"}), ("amd64", {"arch": "sm_90"}), ("arm64", None),
    ]  # fmt: skip
    found = read_images(folder)
    assert [each.descriptor for each in found] == [read_image(image).descriptor for image in images]
    # Three manifests, three configurations but for those of the same platform and layer, one layer, one index.
    assert len(list((folder / "blobs" / "sha256").iterdir())) == 3 + 2 + 1 + 1
    with pytest.raises(ActionError, match="holds an index of 3 images, where one image is expected"):
        read_image(folder)


def test_images_that_nothing_could_choose_between(tmp_path: Path) -> None:
    images = {"image_0": layout(tmp_path / "a", "amd64", {}, b"1"), "image_1": layout(tmp_path / "b", "amd64", {}, b"2")}
    with pytest.raises(ActionError, match="two images are for linux/amd64, and have the same annotations"):
        assemble(images, {"layout": tmp_path / "index"}, {"annotations": {}})


@pytest.mark.parametrize(
    ("images", "message"),
    [([], "images: is empty"), ([":a", "models/x:a"], "images: models/x:a is listed twice"), ("a", "images: expected a list")],
)
def test_refused(declare: Callable[..., Any], images: Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        declare(image_index, name="all", images=images)
