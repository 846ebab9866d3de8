"""`doit inspect` and `doit diff` of images in a real registry, and of images on a base whose layers are there only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from registries import Registry
from throwaway import Workspace

BUILD = """
from enginewright import files_layer, image

files_layer(name="os", files={"/etc/motd": "motd"}, compression="gzip")
files_layer(name="app", files={"/app/serve.py": "serve.py"})
image(name="low", layers=[":os"])
image(name="image", base=":low", layers=[":app"])
"""
ON_BASE = """
from enginewright import image, oci_base

oci_base(name="base", image="%s")
image(name="upper", base=":base", layers=["images/x:app"])
"""


@pytest.fixture
def workspace(empty: Workspace) -> Workspace:
    empty.write({"images/x/BUILD.py": BUILD, "images/x/motd": "hello\n", "images/x/serve.py": "print()\n"})
    empty.doit("build")
    return empty


def inspect(workspace: Workspace, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(workspace.doit("inspect", "--json", *arguments).stdout)
    return found


def test_an_image_in_a_registry(workspace: Workspace, registry: Registry) -> None:
    name = f"{registry.host}/team/app:v1"
    workspace.doit("push", "images/x:image", "--to", name)
    assert workspace.doit("diff", "images/x:image", name).stdout.endswith("the images are the same\n")
    here, there = inspect(workspace, "images/x:image"), inspect(workspace, "--fetch", name)
    assert there["manifest"] == here["manifest"] and [each["files"] for each in there["layers"]] == [
        each["files"] for each in here["layers"]
    ]
    unread = inspect(workspace, name)
    assert {each["files"] for each in unread["layers"]} == {None} and unread["layers"][0]["from"] == name
    workspace.write({"images/x/serve.py": "print(1)\n"})
    workspace.doit("build")
    before = len(registry.requests())
    found = json.loads(workspace.doit("diff", "--json", name, "images/x:image", code=1).stdout)
    assert [(each["path"], each["change"]) for each in found["files"]] == [("/app/serve.py", "changed")]
    # The layer that both have is not read.
    blobs = [each for each in registry.requests()[before:] if "/blobs/" in each]
    assert len(blobs) == 2 and not any(inspect(workspace, "images/x:image")["layers"][0]["digest"] in each for each in blobs)
    assert found["pull"]["bytes"] == sum(blob["size"] for blob in found["pull"]["blobs"]) and len(found["pull"]["blobs"]) == 3


def test_an_image_on_a_base_that_is_in_a_registry(workspace: Workspace, registry: Registry, tmp_path: Path) -> None:
    workspace.doit("push", "images/x:low", "--to", f"{registry.host}/team/low:v1")
    name = f"{registry.host}/team/low@{inspect(workspace, 'images/x:low')['manifest']}"
    workspace.write({"images/y/BUILD.py": ON_BASE % name})
    workspace.doit("build")
    facts = inspect(workspace, "images/y:upper")
    low, app = facts["layers"]
    assert facts["base"] == {"name": name, "digest": name.partition("@")[2]}
    assert (low["files"], low["from"], app["from"]) == (None, name, "")
    text = workspace.doit("inspect", "images/y:upper").stdout
    assert f", images/x:os, not here but in {name}\n" in text and text.endswith("  whole      yes, but for 1 layer that is not here\n")
    fetched = inspect(workspace, "--fetch", "images/y:upper")["layers"][0]
    assert [each["path"] for each in fetched["files"]] == ["/etc", "/etc/motd"] and fetched["damage"] == ""
    # In a registry each image has all its layers in a repository of its own.
    pushed = f"{registry.host}/other/upper:v1"
    workspace.doit("push", "images/y:upper", "--to", pushed)
    assert [layer["from"] for layer in inspect(workspace, pushed)["layers"]] == [pushed, pushed]
    # What both have is not fetched to be compared; what one has is.
    found = json.loads(workspace.doit("diff", "--json", "images/y:base", "images/y:upper", code=1).stdout)
    assert [each["path"] for each in found["files"]] == ["/app", "/app/serve.py"]
    registry.stop()
    try:
        assert "127.0.0.1" in inspect(workspace, "--fetch", "images/y:upper")["layers"][0]["damage"]
        assert workspace.doit("diff", "images/y:base", "images/y:upper", code=1).stdout.splitlines()[-1].startswith("to pull: ")
    finally:
        registry.start()


def test_names_that_a_registry_does_not_know(workspace: Workspace, registry: Registry) -> None:
    assert "team/none" in workspace.refuse("diff", "images/x:image", f"{registry.host}/team/none:v1")
    assert "team/none" in workspace.refuse("inspect", f"{registry.host}/team/none:v1")


def test_a_push_in_another_compression(workspace: Workspace, registry: Registry) -> None:
    name = f"{registry.host}/team/small:v1"
    workspace.doit("push", "images/x:image", "--to", name, "--compression", "zstd")
    assert [layer["media_type"].rpartition(".")[2] for layer in inspect(workspace, name)["layers"]] == ["tar+gzip", "tar+zstd"]
    # What a declaration says stays, and the image that people run is the same: its ID knows of no compression.
    workspace.doit("build")
    found = json.loads(workspace.doit("diff", "--json", "images/x:image", name, code=1).stdout)
    assert [layer["change"] for layer in found["layers"]] == ["same", "repacked"] and found["config"] == {}
