"""The same sources are the same image: in other folders, for other users, at other times, with other settings of the machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nobody
from throwaway import DOIT, PYPROJECT, Workspace

BUILD = """
from enginewright import files_layer, glob, image, image_index, python_action

python_action(name="report", function="make.py:write", outputs={"out": "report.txt"})
site = {f"/site/{path}": path for path in glob("site/*")}
for compression in ("none", "gzip", "zstd"):
    files_layer(name=compression, files={**site, "/app/": ":report", "/app/serve.py": "serve.py", "/app/é": "serve.py"},
                owners={"/app/": "65532:65532"}, modes={"/app/serve.py": "0755"}, links={"/serve": "app/serve.py"},
                deletes=["/etc/motd"], compression=compression)
    image(name=f"{compression}_image", layers=[f":{compression}"], env={"B": "1", "A": "2"}, labels={"z": "1", "a": "2"})
image(name="upper", base=":none_image", layers=[":zstd"], annotations={"title": "upper"})
image_index(name="all", images=[":upper", ":none_image"])
"""
MAKE = """
import os

def write(inputs, outputs, params):
    outputs["out"].write_text("report")
    os.chmod(outputs["out"], 0o600)
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """What all tests here clone, and none of them changes."""
    folder = tmp_path_factory.mktemp("same")
    made = Workspace(folder / "workspace", folder / "store", folder / "trace")
    made.write({"dodo.py": "", "pyproject.toml": PYPROJECT})
    made.write({"images/x/BUILD.py": BUILD, "images/x/make.py": MAKE, "images/x/serve.py": "print()\n"})
    made.write({f"images/x/site/{number}.html": str(number) * 1000 for number in range(20)})
    return made


@pytest.fixture(scope="module")
def first(workspace: Workspace) -> dict[str, str]:
    """The digests of its images."""
    return build(workspace)


def digests(workspace: Workspace) -> dict[str, str]:
    """The digests of all images of a workspace, by name."""
    layouts = sorted((workspace.root / "build/images/x").glob("*/index.json"))
    return {path.parent.name: json.loads(path.read_bytes())["manifests"][0]["digest"] for path in layouts}


def build(
    workspace: Workspace, *before: str | Path, umask: int = 0o022, doit: tuple[str | Path, ...] = (DOIT,), **environment: str
) -> dict[str, str]:
    """Build all from nothing, with an environment of its own, and return the digests."""
    done = subprocess.run(
        [*before, *doit, "build"],
        cwd=workspace.root,
        env={**workspace.environment, **environment},
        umask=umask,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cached 0," in done.stdout
    found = digests(workspace)
    assert len(found) == 5
    return found


def test_the_same_image_again_and_again(workspace: Workspace, first: dict[str, str], tmp_path: Path) -> None:
    for run in range(9):
        again = workspace.clone(tmp_path / f"run{run}", tmp_path / f"store{run}")
        for path in again.root.rglob("*"):
            os.utime(path, (run, run))
        assert build(again, PYTHONHASHSEED=str(run)) == first
        shutil.rmtree(again.root)


def test_in_other_surroundings(workspace: Workspace, first: dict[str, str], tmp_path: Path) -> None:
    deep = workspace.clone(tmp_path / "another folder" / "ü" / ("deep" * 40), tmp_path / "other store")
    for path in deep.root.rglob("*.py"):
        path.chmod(0o700)
    assert build(deep, umask=0o077, TZ="Asia/Kathmandu", LC_ALL="C", LANG="C", USER="somebody", HOSTNAME="elsewhere") == first


def test_in_another_virtual_environment(workspace: Workspace, first: dict[str, str], tmp_path: Path) -> None:
    """One at another path, with its own prefix and scripts; the distributions are those of this one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    here = [path for path in sys.path if path.endswith("site-packages")]
    (site / "here.pth").write_text("\n".join(f"import site; site.addsitedir({path!r})" for path in here) + "\n")
    other = workspace.clone(tmp_path / "other", tmp_path / "other store")
    doit = (tmp_path / "venv/bin/python", "-m", "doit")
    assert build(other, doit=doit) == first


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_by_another_user(workspace: Workspace, first: dict[str, str]) -> None:
    with nobody.cloned(workspace) as other:
        assert build(other, *nobody.COMMAND) == first
        assert (other.root / "build/images/x/all/index.json").stat().st_uid == 65534
