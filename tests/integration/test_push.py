"""`doit push` and `doit pull`, with a real registry, and skopeo as a second opinion."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from registries import Registry, need
from throwaway import Workspace

BUILD = """
from enginewright import files_layer, image, python_action

files_layer(name="low", files={"/low": "low.bin"})
files_layer(name="high", files={"/high": "high.txt"})
image(name="app", layers=[":low", ":high"], cmd=["/high"])
image(name="tool", layers=[":low"])
python_action(name="text", function="make.py:copy", inputs={"src": "high.txt"}, outputs={"out": "out.txt"})
"""
LOW = 3 << 20


@pytest.fixture
def workspace(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with two images that share a layer, in images/x."""
    empty.write({"images/x/BUILD.py": BUILD, "images/x/make.py": empty.make, "images/x/high.txt": "one\n"})
    (empty.root / "images/x/low.bin").write_bytes(os.urandom(LOW))
    empty.environment["DOCKER_CONFIG"] = str(empty.root)
    return empty


def push(workspace: Workspace, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(workspace.doit("push", *arguments, "--json").stdout)["images"]
    return found


def inspect(reference: str) -> dict[str, Any]:
    command = [need("skopeo"), "inspect", "--tls-verify=false", "--raw", f"docker://{reference}"]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def test_an_image_is_pushed_and_pushed_again(workspace: Workspace, registry: Registry, tmp_path: Path) -> None:
    to = f"{registry.host}/team/app:1"
    (first,) = push(workspace, "images/x:app", "--to", to)
    assert sorted(first["blobs"].values()) == ["sent", "sent", "sent"] and first["sent"] > LOW
    manifest = inspect(to)
    assert [each["digest"] for each in manifest["layers"]] == [
        json.loads((workspace.root / f"build/images/x/{name}.json").read_bytes())["digest"] for name in ("low", "high")
    ]
    before = len(registry.requests())
    (again,) = push(workspace, "images/x:app", "--to", to)
    assert again == {**first, "unchanged": True, "sent": 0, "blobs": {}, "seconds": again["seconds"]}
    assert registry.requests()[before:] == ["HEAD /v2/team/app/manifests/1"]
    assert "unchanged, nothing sent" in workspace.doit("push", "images/x:app", "--to", to).stdout

    workspace.write({"images/x/high.txt": "two\n"})
    (changed,) = push(workspace, "images/x:app", "--to", to)
    assert sorted(changed["blobs"].values()) == ["sent", "sent", "there"] and changed["sent"] < 100_000
    command = [need("skopeo"), "--insecure-policy", "copy", "--src-tls-verify=false", f"docker://{to}", f"oci:{tmp_path / 'copy'}"]
    subprocess.run(command, check=True, capture_output=True)


def test_what_another_repository_has_is_mounted(workspace: Workspace, registry: Registry) -> None:
    push(workspace, "images/x:app", "--to", f"{registry.host}/one/app:1")
    (tool,) = push(workspace, "images/x:tool", "--to", f"{registry.host}/two/tool:1")
    assert sorted(tool["blobs"].values()) == ["mounted", "sent"] and tool["sent"] < 10_000
    (workspace.root / "build/.enginewright/pushed.json").unlink()
    (named,) = push(workspace, "images/x:app", "--to", f"{registry.host}/three/app:1", "--mount-from", "one/app")
    assert set(named["blobs"].values()) == {"mounted"} and named["sent"] == 0


def test_a_repository_that_has_lost_a_blob(workspace: Workspace, registry: Registry) -> None:
    """What was remembered is a hint, and no more."""
    places = workspace.root / "build/.enginewright/pushed.json"
    push(workspace, "images/x:app", "--to", f"{registry.host}/four/app:1")
    places.write_text(places.read_text().replace("four/app", "never/pushed"))
    (moved,) = push(workspace, "images/x:app", "--to", f"{registry.host}/five/app:1")
    assert set(moved["blobs"].values()) == {"sent"}
    assert inspect(f"{registry.host}/five/app:1")


def test_several_images_and_several_tags(workspace: Workspace, registry: Registry) -> None:
    done = push(workspace, "images/...", "--to", f"{registry.host}/{{package}}/{{name}}:1", "--to", f"{registry.host}/{{name}}:latest")
    assert [each["reference"].partition("/")[2] for each in done] == [
        "images/x/app:1", "images/x/tool:1", "app:latest", "tool:latest",
    ]  # fmt: skip
    assert {each["digest"] for each in done[:2]} == {each["digest"] for each in done[2:]}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["images/x:app"], "doit push: say what and where"),
        (["images/x:text", "--to", "h:1/a"], "images/x:text is a python_action, which makes no image"),
        (["imagos/...", "--to", "h:1/a"], "no package in 'imagos' (did you mean 'images'?)"),
        (["images/x", "--to", "h:1/a"], "--to h:1/a: images/x:app and images/x:tool would both be h:1/a"),
        (["images/x:app", "--to", "h:1/a", "--ca", "no.pem"], "--ca no.pem: there is no such file"),
        (["images/x:app", "--to", "h:1/a", "--mount-from", "h:1/b:2"], "--mount-from h:1/b:2: expected a repository without a registry"),
        (["images/x:app", "--to", "h:1/a", "--mount-from", "A B"], "--mount-from A B: expected a repository"),
    ],
)
def test_misuse(workspace: Workspace, arguments: list[str], problem: str) -> None:
    assert workspace.refuse("push", *arguments).startswith(problem)


def test_nothing_is_pushed_when_the_build_fails(workspace: Workspace, registry: Registry) -> None:
    workspace.write({"images/x/BUILD.py": BUILD + 'python_action(name="no", function="make.py:fail", inputs={}, outputs={"o": "o"})\n'
                     'files_layer(name="bad", files={"/o": ":no"})\nimage(name="broken", layers=[":bad"])\n'})  # fmt: skip
    done = workspace.doit("push", "images/x:broken", "--to", f"{registry.host}/broken:1", code=1)
    assert "there is no such thing" in done.stderr and done.stdout == ""
    assert not any("/broken/" in each for each in registry.requests())


def test_what_cannot_be_built_here_is_left_out_of_a_package(workspace: Workspace, registry: Registry) -> None:
    more = """
python_action(name="rare", function="make.py:copy", inputs={"src": "high.txt"}, outputs={"o": "o"}, requires={"gpu": "sm_61"})
files_layer(name="rare_layer", files={"/o": ":rare"})
image(name="rare_image", layers=[":rare_layer"])
"""
    workspace.write({"images/x/BUILD.py": BUILD + more})
    done = workspace.doit("push", "images/x", "--to", f"{registry.host}/part/{{name}}:1", "--json")
    assert [each["label"] for each in json.loads(done.stdout)["images"]] == ["images/x:app", "images/x:tool"]
    assert "left out images/x:rare_image: it depends on images/x:rare, which needs a GPU of architecture sm_61" in done.stderr
    said = workspace.refuse("push", "images/x:rare_image", "--to", f"{registry.host}/part/rare:1")
    assert "needs a GPU of architecture sm_61" in said


def test_pull(workspace: Workspace, registry: Registry, tmp_path: Path) -> None:
    to = f"{registry.host}/pulled:1"
    (pushed,) = push(workspace, "images/x:app", "--to", to)
    found = json.loads(workspace.doit("pull", to, "--to", "copy", "--json").stdout)
    assert found["reference"] == f"{registry.host}/pulled@{pushed['digest']}"
    assert sorted(found["blobs"].values()) == ["fetched"] * 3 and found["received"] == pushed["sent"]
    subprocess.run([need("skopeo"), "inspect", f"oci:{workspace.root / 'copy'}"], check=True, capture_output=True)
    assert "(blobs: 3 there; 0 bytes received)" in workspace.doit("pull", to, "--to", "copy").stdout
    done = workspace.doit("pull", f"{registry.host}/never:1", "--to", "other", code=1)
    assert "with 404" in done.stderr and not (workspace.root / "other").exists()
    done = workspace.doit("pull", to, "--to", "copy", "--platform", "linux/arm64")
    assert f"{to} is an image for linux/amd64, and there is none for linux/arm64" in done.stderr
    done = workspace.doit("pull", to, "--to", "pyproject.toml", code=1)
    assert done.stderr == "ERROR: pyproject.toml is a file: name a folder, which an image layout is\n"
    assert workspace.refuse("pull", "Never").startswith("doit pull: say what and where to")
    assert workspace.refuse("pull", "Never", "--to", "x").startswith("'Never' is not an image reference")
