"""Layers on top of each other as other people's code applies them: buildah unpacks an image, and skopeo takes one out of an index."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from enginewright.oci.blobs import open_blob
from enginewright.oci.layer import Layer
from enginewright.oci.layout import read_image, read_images
from enginewright.oci.listing import list_layer, merged
from registries import need
from throwaway import Workspace

BUILD = """
from enginewright import files_layer, image, image_index

files_layer(
    name="low",
    files={path: "text" for path in ("/etc/motd", "/etc/issue", "/file", "/folder/old", "/folder/deep/old", "/gone/x")},
    links={"/link": "etc", "/absolute": "/etc/issue"},
)
files_layer(
    name="high",
    files={path: "text" for path in (
        "/file/now_a_folder", "/folder", "/gone/new", "/setuid", "/" + "n" * 255, "/é/" + "p" * 120 + "/f",
    )},
    deletes=["/etc/motd", "/gone/x"],
    folders=["/data"],
    owners={"/data": "1234:5678", "/setuid": "4294967294"},
    modes={"/setuid": "4755", "/data": "1777"},
    compression="%s",
)
image(name="base", layers=[":low"])
image(name="image", base=":base", layers=[":high"], cmd=["/setuid"], annotations={"arch": "one"})
image(name="other", base=":base", layers=[], annotations={"arch": "two"})
image_index(name="all", images=[":image", ":other"])
"""


@pytest.fixture(params=["none", "gzip", "zstd"])
def built(empty: Workspace, request: pytest.FixtureRequest) -> Workspace:
    empty.write({"images/x/BUILD.py": BUILD % request.param, "images/x/text": "text\n"})
    empty.doit("build")
    return empty


@pytest.fixture
def unpacked(built: Workspace, tmp_path: Path) -> Iterator[Path]:
    """The files of the image, as buildah unpacks it."""
    command = [need("buildah"), "--root", tmp_path / "root", "--runroot", tmp_path / "runroot", "--storage-driver", "vfs"]

    def buildah(*arguments: str) -> str:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    container = buildah("from", "--pull", f"oci:{built.root / 'build/images/x/image'}")
    yield Path(buildah("mount", container))
    buildah("rm", container)


def test_what_is_shown_is_what_is_unpacked(built: Workspace, unpacked: Path) -> None:
    layout = built.root / "build/images/x/image"
    image = read_image(layout)
    layers = [Layer(*each) for each in zip(image.layers, image.diff_ids)]
    shown = merged(list_layer(open_blob(layout, layer.descriptor), layer, "it").entries for layer in layers)
    found = {"/" + path.relative_to(unpacked).as_posix(): path for path in unpacked.rglob("*")}
    assert found.keys() == shown.keys()
    assert {"/etc/motd", "/gone/x", "/folder/old"}.isdisjoint(found) and {"/file/now_a_folder", "/gone/new"} <= found.keys()
    for path, (entry, _) in shown.items():
        stat = found[path].lstat()
        assert (stat.st_uid, stat.st_gid) == (entry.uid, entry.gid), path
        assert entry.kind == "symlink" or stat.st_mode & 0o7777 == entry.mode, path
        assert found[path].is_symlink() == (entry.kind == "symlink") and (
            found[path].is_symlink() or found[path].is_dir() == (entry.kind == "folder")
        )
    assert (found["/setuid"].stat().st_mode & 0o7777, found["/setuid"].stat().st_uid) == (0o4755, 2**32 - 2)
    assert found["/folder"].is_file() and found["/link"].readlink() == Path("etc")


def test_an_index_is_read_by_skopeo_which_takes_the_first(built: Workspace, tmp_path: Path) -> None:
    layout = built.root / "build/images/x/all"
    first, second = read_images(layout)
    assert first.platform == second.platform
    done = subprocess.run([need("skopeo"), "inspect", f"oci:{layout}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["Layers"] == [layer.digest for layer in first.layers]
    copy = ["skopeo", "--insecure-policy", "copy", "--all", "--preserve-digests", f"oci:{layout}", f"oci:{tmp_path / 'copy'}"]
    done = subprocess.run(copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [image.descriptor for image in read_images(tmp_path / "copy")] == [first.descriptor, second.descriptor]
