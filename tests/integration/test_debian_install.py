"""debian_base(install=True): what a Debian of one's own would have, by mmdebstrap, out of the archives that this machine's apt knows."""

from __future__ import annotations

import os
import platform
import subprocess
import tarfile
from pathlib import Path

import pytest

import nobody
from dockerd import Engine
from registries import need
from throwaway import DOIT, PYPROJECT, Workspace

BUILD = """
from enginewright import debian_base

debian_base(name="base", suite="%s", packages=["adduser", "ca-certificates", "python3-minimal", "usr-is-merged"], install=True,
            pins="packages.pins")
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    need("mmdebstrap")
    need("fakechroot")
    folder = tmp_path_factory.mktemp("debian")
    made = Workspace(folder / "workspace", folder / "store", folder / "trace")
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    made.write({"dodo.py": "", "pyproject.toml": PYPROJECT, "images/x/BUILD.py": BUILD % suite})
    made.doit("pin", "images/x:base")
    made.doit("build")
    return made


def found(root: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(root / "build/images/x/base.layer.tar") as tar:
        return {member.name: member for member in tar}


def content(root: Path, name: str) -> str:
    with tarfile.open(root / "build/images/x/base.layer.tar") as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read().decode()


def test_essential_packages_are_pinned_and_installed(workspace: Workspace) -> None:
    pins = workspace.read("images/x/packages.pins").splitlines()[1:]
    status = content(workspace.root, "var/lib/dpkg/status")
    assert status.count("\nStatus: install ok installed\n") == len(pins)
    assert {"dpkg", "bash", "libc6"} < {line.partition("=")[0] for line in pins}


def test_maintainer_scripts_ran(workspace: Workspace) -> None:
    members = found(workspace.root)
    assert any(name.startswith("etc/ssl/certs/") and name.endswith(".0") for name in members), "what `openssl rehash` makes"
    assert members["etc/alternatives/awk"].linkname == "/usr/bin/mawk"
    assert members["usr/bin/su"].mode & 0o4000 and members["etc/shadow"].gid == 42
    assert content(workspace.root, "etc/shadow").splitlines()[0].split(":")[:3] == ["root", "*", "1"]


def test_nothing_of_this_machine_is_left(workspace: Workspace) -> None:
    members = found(workspace.root)
    assert not {"etc/hostname", "etc/resolv.conf", "etc/apt/sources.list"} & members.keys()
    assert not [name for name in members if name.startswith("dev/") or "__pycache__" in name]
    assert not [name for name in members if name.startswith("var/log/") and members[name].size]
    assert members["dev"].isdir() and members["bin"].linkname == "usr/bin"
    data = (workspace.root / "build/images/x/base.layer.tar").read_bytes()
    assert os.fsencode(platform.node()) not in data or len(platform.node()) < 6
    assert os.fsencode(workspace.root.parent) not in data and b"mmdebstrap." not in data


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_makes_the_same_elsewhere(workspace: Workspace) -> None:
    with nobody.cloned(workspace) as other:
        environment = {**other.environment, "TZ": "Asia/Tokyo", "LC_ALL": "C"}
        subprocess.run([*nobody.COMMAND, DOIT, "build"], cwd=other.root, env=environment, umask=0o077, check=True, capture_output=True)
        name = "build/images/x/base.layer.json"
        assert other.read(name) == workspace.read(name)


def test_it_runs(workspace: Workspace, dockerd: Engine) -> None:
    workspace.environment |= dockerd.environment
    workspace.doit("load", "images/x:base", "--tag", "installed:1")
    script = "adduser --disabled-password --gecos '' someone >/dev/null && id -un someone && python3 -c 'print(6 * 7)' && dpkg --audit"
    assert dockerd.docker("run", "--rm", "installed:1", "sh", "-c", script).splitlines() == ["someone", "42"]


def test_without_dpkg_nothing_can_be_installed(workspace: Workspace) -> None:
    other = workspace.clone(workspace.root.parent / "without")
    pins = other.root / "images/x/packages.pins"
    pins.write_text("".join(line for line in pins.read_text().splitlines(keepends=True) if not line.startswith("dpkg=")))
    reason = other.build(code=1).actions["images/x:base.layer"]["reason"]
    assert reason == "dpkg is not pinned, without which nothing can be installed: write the pins anew with `doit pin`"


def test_a_package_that_cannot_be_configured(workspace: Workspace) -> None:
    """Without what ca-certificates depends on, dpkg says what is missing."""
    other = workspace.clone(workspace.root.parent / "unmet")
    pins = other.root / "images/x/packages.pins"
    pins.write_text("".join(line for line in pins.read_text().splitlines(keepends=True) if not line.startswith("openssl=")))
    reason = other.build(code=1).actions["images/x:base.layer"]["reason"]
    assert reason.startswith("mmdebstrap could not install the packages: ") and "openssl" in reason
