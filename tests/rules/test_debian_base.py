"""debian_base() and `doit pin`, in a workspace of its own with the real apt, whose archive is a folder."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from debs import control_of, entry, folder, make_archive, make_deb
from enginewright import debian_base
from enginewright.errors import DeclarationError
from throwaway import Workspace

BUILD = """
from enginewright import debian_base, image

debian_base(name="base", suite="bookworm", packages=["app"], omit=["configurator"], pins="packages.pins")
image(name="image", base=":base", cmd=["/usr/bin/app"])
"""


class Archive:
    """An archive, in a folder, with packages that hold one program each."""

    def __init__(self, place: Path) -> None:
        place.mkdir()
        self.place = place
        self.publish("1.0")

    def publish(self, version: str) -> None:
        """Have this version of app, and no other."""
        for old in self.place.glob("*.deb"):
            old.unlink()
        made = []
        for name, needs in (("app", "libapp, configurator"), ("libapp", "")):
            entries = [folder("bin"), entry(f"bin/{name}", version.encode(), 0o755), entry(f"usr/share/man/{name}.1", b"manual")]
            made.append((make_deb(self.place, name, entries, version=version, depends=needs), control_of(name, version, "all", needs)))
        self.sources = make_archive(self.place, *made)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    if shutil.which("apt-get") is None:
        pytest.fail("apt-get is not installed") if os.environ.get("CI") else pytest.skip("apt-get is not installed")
    return Archive(tmp_path / "archive")


@pytest.fixture
def workspace(empty: Workspace, archive: Archive) -> Workspace:
    empty.write({"images/x/BUILD.py": BUILD})
    empty.environment["ENGINEWRIGHT_APT_SOURCES"] = str(archive.sources)
    return empty


def test_pinned_built_and_rebuilt_after_the_archive_moved_on(workspace: Workspace, archive: Archive, tmp_path: Path) -> None:
    said = workspace.doit("pin", "images/x:base").stdout
    assert said == "+ app 1.0\n+ libapp 1.0\nimages/x/packages.pins: 2 packages, written\n"
    assert workspace.doit("pin", "images/x:base").stdout == "images/x/packages.pins: is up to date\n"
    assert workspace.build().built == {f"images/x:{name}" for name in ("base.debs", "base.layer", "base", "image")}
    with tarfile.open(workspace.root / "build/images/x/base.layer.tar") as tar:
        assert [member.name for member in tar if not member.isdir()] == [
            "bin", "usr/bin/app", "usr/bin/libapp", "var/lib/dpkg/status.d/app", "var/lib/dpkg/status.d/libapp",
        ]  # fmt: skip

    # Another folder, store, time zone and home: the same layer.
    other = workspace.clone(tmp_path / "elsewhere" / "other", tmp_path / "other store")
    other.environment |= {
        "ENGINEWRIGHT_APT_SOURCES": str(archive.sources),
        "TZ": "Asia/Tokyo",
        "PYTHONHASHSEED": "7",
        "HOME": str(tmp_path),
    }
    assert "images/x:base" in other.build().built
    assert other.read("build/images/x/base.layer.json") == workspace.read("build/images/x/base.layer.json")

    # The store has what the archive no longer has.
    archive.publish("1.1")
    assert not workspace.clone(tmp_path / "clone").build().built
    # A machine without it is told what to do, and `doit pin` does it.
    alone = workspace.clone(tmp_path / "alone", tmp_path / "another store")
    alone.environment["ENGINEWRIGHT_APT_SOURCES"] = str(archive.sources)
    reason = alone.build(code=1).actions["images/x:base.debs"]["reason"]
    assert "no longer have 2 of the pinned packages:\n  app 1.0 (there is 1.1)\n" in reason and "`doit pin`" in reason
    assert "  app 1.0 -> 1.1\n" in alone.doit("pin", "images/x:base").stdout
    assert "images/x:image" in alone.build().built


def test_pins_of_another_declaration(workspace: Workspace) -> None:
    workspace.doit("pin", "images/x:base")
    workspace.write({"images/x/BUILD.py": BUILD.replace('["app"]', '["app", "more"]')})
    reason = workspace.build(code=1).actions["images/x:base.debs"]["reason"]
    assert reason.startswith("packages.pins does not pin more: write it anew with `doit pin`")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "doit pin takes one label"),
        (["images/x"], "doit pin takes one label"),
        (["images/x:image"], "images/x:image is made by image(): doit pin is for a debian_base()"),
        (["images/x:bass"], "did you mean 'base'?"),
    ],
)
def test_doit_pin_refuses(workspace: Workspace, arguments: list[str], message: str) -> None:
    assert message in workspace.refuse("pin", *arguments)


def test_doit_pin_says_what_apt_does_not_find(workspace: Workspace) -> None:
    workspace.write({"images/x/BUILD.py": BUILD.replace('["app"]', '["apple"]')})
    assert "Unable to locate package apple" in workspace.refuse("pin", "images/x:base")
    assert not (workspace.root / "images/x/packages.pins").exists()


def test_skipped_with_a_reason_where_apt_has_other_archives(workspace: Workspace) -> None:
    workspace.write({"images/x/BUILD.py": BUILD.replace("bookworm", "buzz"), "images/x/packages.pins": ""})
    del workspace.environment["ENGINEWRIGHT_APT_SOURCES"]
    report = workspace.build()
    assert report.skipped and not report.failed
    assert report.actions["images/x:base.debs"]["reason"].startswith("needs the archives of Debian buzz, and apt here has those of ")


def test_a_damaged_package_is_not_taken(workspace: Workspace, archive: Archive) -> None:
    workspace.doit("pin", "images/x:base")
    pins = workspace.root / "images/x/packages.pins"
    lines = pins.read_text().splitlines()
    pins.write_text("\n".join([*lines[:-1], lines[-1][:-64] + "0" * 64, ""]))
    reason = workspace.build(code=1).actions["images/x:base.debs"]["reason"]
    assert reason.startswith("libapp_1.0_all.deb: its SHA-256 is not the pinned one")


def test_the_image_is_one_that_can_be_a_base(workspace: Workspace) -> None:
    workspace.doit("pin", "images/x:base")
    workspace.build()
    index = json.loads((workspace.root / "build/images/x/base/index.json").read_text())
    assert index["manifests"][0]["platform"] == {"architecture": "amd64", "os": "linux"}


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"packages": []}, "packages: is empty"),
        ({"packages": ["app=1.0"]}, "packages: 'app=1.0' is no name of a Debian package"),
        ({"suite": "Debian 12"}, "suite: expected the name of a Debian release"),
        ({"omit": ["app"]}, "omit: 'app' is also among packages"),
        ({"architecture": "x86_64"}, "architecture: expected 'amd64' or 'arm64'"),
    ],
)
def test_refused(declare: Callable[..., Any], attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        declare(debian_base, **{"name": "base", "suite": "bookworm", "packages": ["app"], "pins": "packages.pins", **attributes})
