"""oci_base(): images that are built on one in a registry, whose layers nobody fetches before they are needed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from registries import Registry, need, running
from throwaway import Workspace

BELOW = """
from enginewright import files_layer, image

files_layer(name="layer", files={"/below": "below.bin"}, compression="gzip")
image(name="image", layers=[":layer"], env={"FROM": "below"})
"""
ABOVE = """
from enginewright import files_layer, image, oci_base

oci_base(name="base", image=%r%s)
files_layer(name="layer", files={"/above": "above.txt"})
image(name="image", base=":base", layers=[":layer"])
"""


@pytest.fixture
def workspace(empty: Workspace) -> Workspace:
    empty.write({"images/below/BUILD.py": BELOW, "images/above/above.txt": "above\n"})
    (empty.root / "images/below/below.bin").write_bytes(os.urandom(1 << 20))
    return empty


def push(workspace: Workspace, label: str, to: str) -> dict[str, Any]:
    (found,) = json.loads(workspace.doit("push", label, "--to", to, "--json").stdout)["images"]
    return dict(found)


def test_a_shallow_base(workspace: Workspace, registry: Registry, tmp_path: Path) -> None:
    below = push(workspace, "images/below:image", f"{registry.host}/below:1")
    pinned = f"{registry.host}/below@{below['digest']}"
    workspace.write({"images/above/BUILD.py": ABOVE % (pinned, "")})
    before = len(registry.requests())
    workspace.doit("build", "images/above")
    asked = registry.requests()[before:]
    assert [each.partition(" ")[0] for each in asked] == ["GET", "GET"], "a manifest and a configuration"
    layers = [json.loads((workspace.root / f"build/images/{name}/layer.json").read_bytes())["digest"] for name in ("below", "above")]
    for name, there in (("base", [False]), ("image", [False, True])):
        blobs = workspace.root / f"build/images/above/{name}/blobs/sha256"
        assert [(blobs / each[7:]).exists() for each in layers[: len(there)]] == there

    # Into the same registry: the base's layer is mounted there.
    same = push(workspace, "images/above:image", f"{registry.host}/above:1")
    assert same["blobs"][layers[0]] == "mounted" and same["blobs"][layers[1]] == "sent"
    # A package stands for its images; a base goes along when it is named.
    found = json.loads(workspace.doit("push", "images/above", "--to", f"{registry.host}/{{name}}:1", "--json").stdout)["images"]
    assert [each["label"] for each in found] == ["images/above:image"]
    assert push(workspace, "images/above:base", f"{registry.host}/mirror:1")["digest"] == below["digest"]
    # Into another one: it goes from registry to registry, and never lies on this disk.
    with running(tmp_path / "other") as other:
        # One that cannot be reached is asked for it as often as anything else, and no more for each attempt to send.
        registry.stop()
        try:
            done = workspace.doit("push", "images/above:image", "--to", f"{other.host}/broken:1", code=1)
        finally:
            registry.start()
        assert done.stderr.count("; trying again in ") == 4 and f"the connection to {registry.host} failed" in done.stderr
        moved = push(workspace, "images/above:image", f"{other.host}/above:1")
        assert moved["digest"] == same["digest"] and set(moved["blobs"].values()) == {"sent"}
        command = [need("skopeo"), "--insecure-policy", "copy", "--src-tls-verify=false", f"docker://{other.host}/above:1"]
        subprocess.run([*command, f"oci:{tmp_path / 'copy'}"], check=True, capture_output=True)
        assert other.blob(layers[0]).read_bytes() == (workspace.root / "build/images/below/image/blobs/sha256" / layers[0][7:]).read_bytes()

    # The whole base, on request.
    workspace.write({"images/above/BUILD.py": ABOVE % (pinned, ", shallow=False")})
    workspace.doit("build", "images/above")
    whole = workspace.root / "build/images/above/image/blobs/sha256" / layers[0][7:]
    assert whole.read_bytes() == (workspace.root / "build/images/below/image/blobs/sha256" / layers[0][7:]).read_bytes()


def test_a_base_that_is_not_to_be_had(workspace: Workspace, registry: Registry) -> None:
    below = push(workspace, "images/below:image", f"{registry.host}/below:2")

    def refusal(image: str, more: str = "") -> str:
        workspace.write({"images/above/BUILD.py": ABOVE % (image, more)})
        return workspace.build("images/above", code=1).text

    name = f"{registry.host}/below"
    said = refusal(f"{name}:2")
    assert f"{name}:2 can be another image tomorrow: pin the one that it is now, with image='{name}:2@{below['digest']}'" in said
    assert f"answered a request for sha256:{'0' * 64} of {name} with 404" in refusal(f"{name}@sha256:{'0' * 64}")
    assert f"{name}:none: {registry.host} has no such image" in refusal(f"{name}:none")
    assert "is an image for linux/amd64, and not for linux/arm64" in refusal(f"{name}@{below['digest']}", ", platform='linux/arm64'")
    path = registry.blob(below["digest"])
    path.write_bytes(path.read_bytes().replace(b"sha256", b"sha512", 1))
    said = refusal(f"{name}@{below['digest']}")
    assert f"what {registry.host} sends for {below['digest']} are other bytes" in said or " with 500" in said or " with 404" in said
    assert not (workspace.root / "build/images/above/base").exists()


@pytest.mark.parametrize("tool", ["skopeo docker-archive", "skopeo oci-archive"])
def test_an_archive_of_another_tool(workspace: Workspace, tool: str) -> None:
    workspace.doit("build", "images/below")
    program, _, form = tool.partition(" ")
    source, target = f"oci:{workspace.root}/build/images/below/image", f"{form}:{workspace.root}/images/above/base.tar:x:1"
    subprocess.run([need(program), "--insecure-policy", "copy", source, target], check=True, capture_output=True)
    workspace.write({"images/above/BUILD.py": (ABOVE % ("", "")).replace("image=''", "archive='base.tar'")})
    workspace.doit("build", "images/above")
    found = json.loads(workspace.doit("inspect", "images/above:image", "--json").stdout)
    assert len(found["layers"]) == 2
    made = workspace.root / "build/images/above/image"
    subprocess.run([need("skopeo"), "inspect", f"oci:{made}"], check=True, capture_output=True)


def test_a_base_in_dockers_format_and_one_of_an_index(workspace: Workspace, registry: Registry, tmp_path: Path) -> None:
    """Docker's media types become OCI's in what is built on it; the layers are the same bytes."""
    workspace.write(
        {"images/below/BUILD.py": BELOW.replace("image\n", "image, image_index\n", 1) + 'image_index(name="all", images=[":image"])\n'}
    )
    index = push(workspace, "images/below:all", f"{registry.host}/index:1")
    copied = f"{registry.host}/docker:1"
    source = f"oci:{workspace.root}/build/images/below/image"
    command = [need("skopeo"), "--insecure-policy", "copy", "--dest-tls-verify=false", "--format", "v2s2"]
    subprocess.run([*command, "--digestfile", tmp_path / "digest", source, f"docker://{copied}"], check=True, capture_output=True)
    for name, pinned in (("a", f"{copied}@{(tmp_path / 'digest').read_text()}"), ("b", f"{registry.host}/index@{index['digest']}")):
        workspace.write({"images/above/BUILD.py": ABOVE % (pinned, "")})
        pushed = push(workspace, "images/above:image", f"{registry.host}/onto/{name}:1")
        assert "mounted" in pushed["blobs"].values()
        pulled = [need("skopeo"), "--insecure-policy", "copy", "--src-tls-verify=false", f"docker://{registry.host}/onto/{name}:1"]
        subprocess.run([*pulled, f"docker-archive:{tmp_path / name}:x:1"], check=True, capture_output=True)
        layers = json.loads(workspace.doit("inspect", "images/above:image", "--json").stdout)["layers"]
        assert len(layers) == 2
