"""Images on the command line: `doit inspect` and `doit diff` of them, and how `doit build` is told of compression and dates."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from enginewright.doit_plugin.images import is_reference
from enginewright.oci.layout import Descriptor, write_image
from enginewright.oci.media import LAYER
from throwaway import DOIT, PYPROJECT, Workspace

BUILD = """
from enginewright import files_layer, image, image_index

files_layer(name="os", files={"/etc/motd": "motd", "/etc/issue": "motd"})
files_layer(name="app", files={"/app/serve.py": "serve.py"}, modes={"/app/serve.py": "0755"}, links={"/serve": "app/serve.py"})
files_layer(name="gz", files={"/app/serve.py": "serve.py"}, compression="gzip:3")
files_layer(name="less", files={"/app/more": "motd"}, deletes=["/etc/issue"])
image(name="low", layers=[":os"], env={"LANG": "C"}, annotations={"tier": "base"})
image(name="image", base=":low", layers=[":app"], entrypoint=["/serve"], env={"PORT": "1"})
image(name="other", base=":low", layers=[":less"], entrypoint=["/serve"])
image_index(name="all", images=[":image", ":low"])
"""

SOURCES = {"images/x/BUILD.py": BUILD, "images/x/motd": "hello\n", "images/x/serve.py": "print()\n"}


@pytest.fixture
def workspace(empty: Workspace) -> Workspace:
    empty.write(SOURCES)
    return empty


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with all built, for tests that change nothing in it."""
    folder = tmp_path_factory.mktemp("images")
    made = Workspace(folder / "workspace", folder / "store", folder / "trace")
    made.write({"dodo.py": "", "pyproject.toml": PYPROJECT, **SOURCES})
    made.doit("build")
    return made


def inspect(workspace: Workspace, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(workspace.doit("inspect", "--json", *arguments).stdout)
    return found


def diff(workspace: Workspace, before: str, after: str, *options: str) -> dict[str, Any]:
    same = before == after
    found: dict[str, Any] = json.loads(workspace.doit("diff", "--json", before, after, *options, code=0 if same else 1).stdout)
    return found


def layer_of(workspace: Workspace, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(workspace.read(f"build/images/x/{name}.json"))
    return found


def test_what_is_in_an_image(built: Workspace) -> None:
    facts = inspect(built, "images/x:image")
    assert facts["kind"] == "image" and facts["platform"] == "linux/amd64"
    assert facts["config"] == {"Entrypoint": ["/serve"], "Env": ["LANG=C", "PORT=1"]}
    assert facts["base"]["name"] == "" and facts["base"]["digest"] == inspect(built, "images/x:low")["manifest"]
    low, app = facts["layers"]
    assert (low["created_by"], app["created_by"]) == ("images/x:os", "images/x:app")
    assert low["files"] == [
        {"path": "/etc", "kind": "folder", "mode": "0755", "owner": "0:0"},
        {"path": "/etc/issue", "kind": "file", "mode": "0644", "owner": "0:0", "size": 6},
        {"path": "/etc/motd", "kind": "file", "mode": "0644", "owner": "0:0", "size": 6},
    ]
    assert app["files"][1:] == [
        {"path": "/app/serve.py", "kind": "file", "mode": "0755", "owner": "0:0", "size": 8},
        {"path": "/serve", "kind": "symlink", "mode": "0777", "owner": "0:0", "target": "app/serve.py"},
    ]
    assert all(layer["damage"] == layer["from"] == "" and layer["problems"] == [] for layer in facts["layers"])
    text = built.doit("inspect", "images/x:image").stdout
    assert (
        f"  layer      {app['digest']}, " in text
        and ", images/x:app\n    /app/serve.py  8 bytes\n    /serve  symlink to app/serve.py\n" in text
    )
    assert text.endswith("  whole      yes\n")
    # The folder of the layout says the same, and so does the target of a layer of itself.
    assert inspect(built, "build/images/x/image") == facts
    layer = inspect(built, "images/x:app")
    assert (layer["kind"], layer["digest"], layer["files"]) == ("layer", app["digest"], app["files"])


def test_an_index_of_images(built: Workspace) -> None:
    facts = inspect(built, "images/x:all")
    assert facts["kind"] == "index" and [each["annotations"].get("tier") for each in facts["images"]] == [None, "base"]
    text = built.doit("inspect", "images/x:all").stdout
    assert (
        text.startswith("images/x:all: index of 2 images\n1: image for linux/amd64, 2 layers, ")
        and "\n2: image for linux/amd64, 1 layer, " in text
    )


def test_layers_that_are_not_here_or_damaged(built: Workspace, tmp_path: Path) -> None:
    layout = tmp_path / "copy"
    shutil.copytree(built.root / "build/images/x/image", layout)
    low, app = (layout / "blobs/sha256" / layer["digest"].removeprefix("sha256:") for layer in inspect(built, "images/x:image")["layers"])
    data = bytearray(app.read_bytes())
    data[600] ^= 1
    app.unlink()
    app.write_bytes(data)
    facts = inspect(built, str(layout))
    assert "the bytes given for" in facts["layers"][1]["damage"] and facts["layers"][1]["files"] is None
    app.write_bytes(data[:-512])
    assert "bytes, not" in inspect(built, str(layout))["layers"][1]["damage"]
    assert "  whole      no: " in built.doit("inspect", str(layout)).stdout
    low.unlink()
    for options in ([], ["--fetch"]):  # nothing says which registry has it
        layer = inspect(built, *options, str(layout))["layers"][0]
        assert layer["files"] is None and layer["from"] == "" and "lacks the blob" in layer["damage"]


def test_a_layout_whose_manifest_was_changed(built: Workspace, tmp_path: Path) -> None:
    layout = tmp_path / "copy"
    shutil.copytree(built.root / "build/images/x/low", layout)
    digest = inspect(built, str(layout))["manifest"]
    manifest = layout / "blobs/sha256" / digest.removeprefix("sha256:")
    manifest.chmod(0o644)
    manifest.write_bytes(manifest.read_bytes().replace(b"base", b"bass"))
    assert f"{layout} is not the layout of an image ({digest} has the digest sha256:" in built.refuse("inspect", str(layout))
    (layout / "index.json").unlink()
    assert "there is no image layout there" in built.refuse("diff", str(layout), "images/x:low")


def test_images_that_are_the_same(built: Workspace, tmp_path: Path) -> None:
    facts = diff(built, "images/x:image", "images/x:image")
    assert facts["files"] == [] and facts["config"] == {} and facts["pull"]["bytes"] == 0
    assert {layer["change"] for layer in facts["layers"]} == {"same"}
    assert built.doit("diff", "images/x:image", "build/images/x/image").stdout.endswith("the images are the same\n")


def test_images_that_differ(built: Workspace) -> None:
    facts = diff(built, "images/x:image", "images/x:other")
    app, less = layer_of(built, "app"), layer_of(built, "less")
    assert [(layer["change"], layer["created_by"]) for layer in facts["layers"]] == [
        ("removed", "images/x:app"), ("same", "images/x:os"), ("added", "images/x:less"),
    ]  # fmt: skip
    assert [(file["path"], file["change"]) for file in facts["files"]] == [
        ("/app/more", "added"), ("/app/serve.py", "removed"), ("/etc", "added"), ("/etc/issue", "removed"), ("/serve", "removed"),
    ]  # fmt: skip
    assert facts["files"][0]["after"]["created_by"] == "images/x:less" and facts["files"][1]["before"]["layer"] == app["digest"]
    assert facts["config"] == {"Env": {"before": ["LANG=C", "PORT=1"], "after": ["LANG=C"]}}
    pulled = {blob["digest"]: blob["size"] for blob in facts["pull"]["blobs"]}
    assert pulled[less["digest"]] == less["size"] and len(pulled) == 3  # and the manifest and the configuration
    assert facts["pull"]["bytes"] == sum(pulled.values()) < facts["pull"]["of"]
    text = built.doit("diff", "images/x:image", "images/x:other", code=1).stdout
    assert "  + /app/more  6 bytes  images/x:less\n  - /app/serve.py  8 bytes  images/x:app\n" in text
    assert "  - /etc/issue  deleted  images/x:less\n" in text, "of a layer that both have, which is not read"
    back = built.doit("diff", "images/x:other", "images/x:image", code=1).stdout
    assert "  + /etc/issue  no longer deleted  images/x:less\n  + /serve  symlink  images/x:app\n" in back
    assert '  - Env ["LANG=C", "PORT=1"]\n' in text and text.splitlines()[-1].startswith("to pull: ")
    assert diff(built, "images/x:image", "images/x:other", "--layers")["files"] is None


def test_what_others_wrote_does_nothing_to_a_terminal(tmp_path: Path) -> None:
    """Names that are not UTF-8 or have control characters in them, commands of several lines: as an image from anywhere may have."""
    layouts = []
    for number, name in enumerate((b"caf\xe9", b"\x1b]0;x\x07\n")):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", encoding="utf-8", errors="surrogateescape") as tar:
            tar.addfile(tarfile.TarInfo(os.fsdecode(name)))
        (tmp_path / f"{number}.tar").write_bytes(content.getvalue())
        digest = f"sha256:{hashlib.sha256(content.getvalue()).hexdigest()}"
        config = {
            "os": "linux", "architecture": "amd64", "config": {"User": f"\x1b[31mu{number}"}, "rootfs": {"diff_ids": [digest]},
            "history": [{"created_by": "RUN \x1b[2J&& \\\n\t" + "make " * 100}],
        }  # fmt: skip
        layers = [(Descriptor(LAYER, digest, len(content.getvalue())).to_json(), tmp_path / f"{number}.tar")]
        layouts.append(tmp_path / str(number))
        write_image(layouts[-1], config, layers, {})
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    for arguments in (["inspect", layouts[0]], ["inspect", layouts[1]], ["diff", *layouts]):
        done = subprocess.run([DOIT, *map(str, arguments)], capture_output=True, text=True, env=environment)
        assert done.stderr == "" and all(line.isprintable() for line in done.stdout.splitlines()), done.stderr
        assert "RUN \\x1b[2J&& \\ make make" in done.stdout and "make..." in done.stdout and r"User \x1b[31mu" in done.stdout
    assert "  - /caf\\xe9  0 bytes  RUN" in done.stdout and r"  + /\x1b]0;x\x07\n  0 bytes  RUN" in done.stdout
    json.loads(subprocess.run([DOIT, "diff", "--json", *map(str, layouts)], capture_output=True, text=True, env=environment).stdout)


def test_a_file_that_differs(workspace: Workspace, built: Workspace) -> None:
    workspace.write({"images/x/serve.py": "printf\n\n"})
    workspace.doit("build", "images/x:image")
    old = str(built.root / "build/images/x/image")
    (file,) = diff(workspace, old, "images/x:image")["files"]
    assert (file["path"], file["change"]) == ("/app/serve.py", "changed")
    assert "  ~ /app/serve.py  other bytes, 8 bytes  images/x:app\n" in workspace.doit("diff", old, "images/x:image", code=1).stdout


def test_the_same_files_in_another_compression(workspace: Workspace, built: Workspace) -> None:
    workspace.doit("build", "images/x:image", "--compression", "zstd")
    facts = diff(workspace, str(built.root / "build/images/x/image"), "images/x:image")
    assert [layer["change"] for layer in facts["layers"]] == ["repacked", "repacked"] and facts["files"] == []
    assert len(facts["pull"]["blobs"]) == 3  # the manifest, and no configuration: that knows of no compression


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["images/x:image"], "doit diff takes two images, as in: doit diff images/minilm:image 127.0.0.1:5000/minilm:v1"),
        (["images/x:image", "images/x:app"], "images/x:app is a files_layer, which makes no image"),
        (["images/x:image", "images/x:imag"], "no target 'imag' in package 'images/x' (did you mean 'image'?)"),
        (["images/x:all", "images/x:image"], "images/x:all is an index of 2 images, 2 of them for linux/amd64: name one"),
        (
            ["images/x:all", "images/x:image", "--platform", "linux/arm64"],
            "images/x:all is an index of 2 images, none of them for linux/arm64",
        ),
        (["images/x:image", "nowhere"], "nowhere: there is no image layout there; a label has a colon, as images/minilm:image"),
        (["images/x:image", "localhost/a:b:c"], "'localhost/a:b:c' is not an image reference"),
    ],
)
def test_what_cannot_be_compared(built: Workspace, arguments: list[str], problem: str) -> None:
    assert built.refuse("diff", *arguments).startswith(problem)


def test_an_index_of_platforms_is_compared_by_the_image_for_one(workspace: Workspace) -> None:
    more = """
image(name="arm", layers=[":os"], architecture="arm64")
image_index(name="both", images=[":arm", ":image"])
"""
    workspace.write({"images/x/BUILD.py": BUILD + more})
    workspace.doit("build")
    assert "the images are the same" in workspace.doit("diff", "images/x:both", "images/x:image").stdout
    assert "the images are the same" in workspace.doit("diff", "build/images/x/both", "images/x:arm", "--platform", "linux/arm64").stdout


def test_what_is_not_built(workspace: Workspace) -> None:
    assert workspace.refuse("diff", "images/x:low", "images/x:image") == "build/images/x/low does not exist: doit build images/x:low"


def test_compression_from_the_command_line_the_environment_and_the_settings(workspace: Workspace) -> None:
    def media_types() -> list[str]:
        return [layer_of(workspace, name)["mediaType"].rpartition(".")[2] for name in ("os", "gz")]

    assert len(workspace.build().built) == 8 and media_types() == ["tar", "tar+gzip"]
    report = workspace.build("--compression", "zstd:3")
    assert report.up_to_date == {"images/x:gz"} and media_types() == ["tar+zstd", "tar+gzip"]
    assert [path.name for path in workspace.root.glob("build/images/x/os.tar*")] == ["os.tar.zst"]
    # It is another graph, and the one before is in the store.
    assert workspace.build().cached == {f"images/x:{name}" for name in ("os", "app", "less", "low", "image", "other", "all")}
    workspace.environment["ENGINEWRIGHT_COMPRESSION"] = "gzip"
    assert "images/x:os" in workspace.build().built and media_types() == ["tar+gzip", "tar+gzip"]
    assert "up to date 8," in workspace.doit("build").stdout
    del workspace.environment["ENGINEWRIGHT_COMPRESSION"]
    with (workspace.root / "pyproject.toml").open("a") as file:
        file.write("[tool.enginewright]\ncompression = 'zstd:3'\n")
    assert "images/x:os" in workspace.build().cached and media_types() == ["tar+zstd", "tar+gzip"]
    assert workspace.refuse("build", "--compression", "lz4").startswith(
        "compression: 'lz4' is no compression of layers: there are none, gzip, "
    )


def test_the_date_of_a_build_changes_images_and_no_layer(workspace: Workspace) -> None:
    workspace.doit("build")
    workspace.environment["SOURCE_DATE_EPOCH"] = "1700000000"
    report = workspace.build()
    assert report.built == {f"images/x:{name}" for name in ("low", "image", "other", "all")}
    assert inspect(workspace, "images/x:image")["created"] == "2023-11-14T22:13:20Z"
    assert "up to date 8," in workspace.doit("build").stdout
    del workspace.environment["SOURCE_DATE_EPOCH"]
    assert workspace.build().cached == report.built
    workspace.write({"images/x/BUILD.py": BUILD.replace('deletes=["/etc/issue"]', 'mtime="SOURCE_DATE_EPOCH"')})
    workspace.doit("build")
    workspace.environment["SOURCE_DATE_EPOCH"] = "1700000001"
    assert "images/x:less" in workspace.build().built
    workspace.environment["SOURCE_DATE_EPOCH"] = "yesterday"
    assert workspace.refuse("build").startswith("SOURCE_DATE_EPOCH=yesterday: expected seconds since 1970")


def test_outside_a_workspace(built: Workspace, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    command = [DOIT, "diff", "--json", built.root / "build/images/x/low", built.root / "build/images/x/image"]
    done = subprocess.run(command, cwd=tmp_path / "elsewhere", capture_output=True, text=True)
    assert done.returncode == 1 and json.loads(done.stdout)["layers"][-1]["created_by"] == "images/x:app", done.stderr


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("ghcr.io/team/app:v1", True),
        ("127.0.0.1:5000/app", True),
        ("localhost/app@sha256:" + "0" * 64, True),
        ("images/x:image", False),
        ("debian:12", False),
        ("./build/image", False),
        ("../build/image", False),
        ("/srv/image", False),
        ("there.d/image", False),
        ("images.d/x:image", False),
    ],
)
def test_what_is_taken_for_a_name_in_a_registry(text: str, reference: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("there.d/image/index.json", "images.d/x/BUILD.py"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    monkeypatch.chdir(tmp_path)
    assert is_reference(text) == reference
