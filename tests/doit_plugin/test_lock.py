"""`doit lock`, and `doit build --locked`, in a throw-away workspace with a distribution of its own."""

from __future__ import annotations

import hashlib
import json
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from throwaway import Workspace

A, B = "models/x:a", "models/y:b"

X = """
from enginewright import python_action

python_action(name="a", function="make.py:copy", inputs={"data": "dist://tiny-tool/tiny_data.txt"}, outputs={"out": "out.txt"},
              packages=["tiny-tool"])
"""
Y = """
from enginewright import python_action

python_action(name="b", function="make.py:copy", inputs={"src": "src.txt"}, outputs={"out": "out.txt"})
"""


def install(folder: Path, version: str = "1.0", data: str = "data\n") -> None:
    """The distribution tiny-tool, in place of what there is of it."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.dist-info/*"):
        old.unlink()
        old.parent.rmdir()
    info = folder / f"tiny_tool-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tiny-tool\nVersion: {version}\n")
    (folder / "tiny_data.txt").write_text(data)


@pytest.fixture
def tool(empty: Workspace, tmp_path: Path) -> Path:
    """The folder in which tiny-tool is installed."""
    install(tmp_path / "installed")
    empty.environment["PYTHONPATH"] = str(tmp_path / "installed")
    return tmp_path / "installed"


@pytest.fixture
def workspace(empty: Workspace, tool: Path) -> Workspace:
    empty.write({"models/x/BUILD.py": X, "models/x/make.py": empty.make})
    empty.write({"models/y/BUILD.py": Y, "models/y/make.py": empty.make, "models/y/src.txt": "one\n"})
    return empty


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def committed(workspace: Workspace) -> str:
    """Commit build.lock; the commit, as messages name it."""
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for arguments in (["init", "-q"], ["add", "build.lock"], ["commit", "-q", "-m", "lock"]):
        subprocess.run([*git, *arguments], cwd=workspace.root, check=True)
    logged = subprocess.run([*git, "log", "-1", "--format=%h of %cs"], cwd=workspace.root, check=True, text=True, capture_output=True)
    return logged.stdout.strip()


DATA = sha256(b"data\n")


def test_a_lock_has_what_comes_from_outside(workspace: Workspace) -> None:
    assert workspace.doit("lock").stdout == "build.lock: 1 source, 2 distributions, 0 outputs\n"
    text = workspace.read("build.lock")
    assert f'[sources]\n"dist://tiny-tool/tiny_data.txt" = "{DATA}"\n' in text
    assert f'[toolchains.any]\nenginewright = "{metadata.version("enginewright")}"\ntiny-tool = "1.0"\n' in text
    assert "src.txt" not in text
    # Nothing was built, and nothing of it depends on when or where it was made.
    assert workspace.files() == {}
    assert workspace.doit("lock").stdout == "build.lock is up to date: 1 source, 2 distributions, 0 outputs\n"
    assert workspace.read("build.lock") == text
    assert workspace.doit("lock", "--check").stdout.startswith("build.lock is up to date")


def test_a_declared_digest_is_a_pin(workspace: Workspace) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()
    pinned = f'from enginewright import checkpoint\ncheckpoint(name="w", src="net.pth", sha256="{digest}")\n'
    workspace.write({"models/z/BUILD.py": pinned + 'checkpoint(name="v", src="own.pth")\n'})
    workspace.write({"models/z/net.pth": "weights", "models/z/own.pth": "of the repository"})
    workspace.doit("lock")
    text = workspace.read("build.lock")
    assert f'"models/z/net.pth" = "sha256:{digest}"' in text
    assert "own.pth" not in text


def test_a_locked_build_needs_a_lock(workspace: Workspace) -> None:
    assert workspace.refuse("build", "--locked") == "there is no build.lock here: doit lock writes it"
    workspace.write({"build.lock": "format = 1\n<<<<<<< HEAD\n"})
    assert "a merge that Git could not finish" in workspace.refuse("build", "--locked")


def test_a_lock_that_cannot_be_read(workspace: Workspace) -> None:
    lock = workspace.root / "build.lock"
    lock.write_bytes(b"format = 1\n\xff")
    for command in (["lock"], ["lock", "--check"], ["build", "--locked"], ["cache", "gc"]):
        assert "build.lock is no text in UTF-8 (byte 11): restore it from Git" in workspace.refuse(*command)
    lock.unlink()
    lock.mkdir()
    for command in (["lock"], ["lock", "--check"], ["build", "--locked"], ["cache", "gc"]):
        assert workspace.refuse(*command) == f"Is a directory: {lock}"


def test_a_locked_build_builds(workspace: Workspace) -> None:
    workspace.doit("lock")
    assert workspace.build("--locked").built == {A, B}
    assert workspace.build("--locked").up_to_date == {A, B}


def test_a_locked_build_refuses_what_differs_and_says_since_when(workspace: Workspace, tool: Path) -> None:
    workspace.doit("lock")
    commit = committed(workspace)
    # A later commit that locks another thing of the same version has nothing to do with it.
    workspace.write({"build.lock": workspace.read("build.lock") + 'zz-tool = "1.0"\n'})
    committed(workspace)
    install(tool, "1.1", "other data")
    done = workspace.doit("build", "--locked", code=3)
    assert done.stdout == "" and workspace.files() == {}
    head, *lines, advice = done.stderr.splitlines()
    assert head == "ERROR: 2 things are not as build.lock has them:"
    source, distribution = (line.split("; ") for line in lines)
    assert source[0].startswith(f"  dist://tiny-tool/tiny_data.txt is {sha256(b'other data')}, changed 20")
    assert source[1] == f"{DATA} is locked, since {commit}"
    assert distribution[0].startswith("  tiny-tool is 1.1, installed 20")
    assert distribution[1] == f"1.0 is locked, since {commit}"
    assert advice == "Put back what was locked, or take over what there is with doit lock"
    text = workspace.read("build.lock")
    workspace.write({"build.lock": text.replace('any = "linux', 'any = "plan9')})
    assert "  the platform is linux-" in workspace.doit("build", "--locked", code=3).stderr
    workspace.write({"build.lock": text})
    # What is in no commit yet has no date.
    workspace.write({"build.lock": workspace.read("build.lock").replace('tiny-tool = "1.0"', 'tiny-tool = "1.2"')})
    assert "1.2 is locked\n" in workspace.doit("build", "--locked", code=3).stderr
    # What has nothing to do with it can be built.
    assert workspace.build("--locked", B).built == {B}


def test_a_check_says_what_doit_lock_would_change(workspace: Workspace, tool: Path) -> None:
    workspace.doit("lock")
    install(tool, "1.1")
    text = workspace.read("build.lock")
    told = workspace.doit("lock", "--check", code=1).stdout
    assert told == "~ tiny-tool 1.0 -> 1.1\nbuild.lock is not up to date: run doit lock\n"
    assert workspace.read("build.lock") == text
    document = json.loads(workspace.doit("lock", "--check", "--json", code=1).stdout)
    (found,) = document.pop("differences")
    assert document == {"file": "build.lock", "up_to_date": False, "written": False, "missing": {}}
    assert found.pop("since").startswith("installed 20")
    assert found == {"kind": "distribution", "name": "tiny-tool", "locked": "1.0", "found": "1.1", "group": "any"}
    assert workspace.doit("lock").stdout.startswith("~ tiny-tool 1.0 -> 1.1\nbuild.lock: 1 source")
    assert workspace.doit("lock", "--check", "--json").stdout.startswith('{\n "file": "build.lock",\n "up_to_date": true,')


def test_a_part_is_locked_anew_and_the_rest_stays(workspace: Workspace, tool: Path) -> None:
    workspace.doit("lock")
    text = workspace.read("build.lock")
    install(tool, "1.1")
    assert workspace.doit("lock", B).stdout.startswith("build.lock is up to date")
    assert workspace.read("build.lock") == text
    workspace.doit("lock", A)
    assert workspace.read("build.lock") == text.replace('"1.0"', '"1.1"')


def test_what_is_no_longer_used_goes(workspace: Workspace) -> None:
    workspace.doit("lock")
    workspace.write({"models/x/BUILD.py": ""})
    assert workspace.doit("lock", "models/y").stdout.startswith("build.lock is up to date")
    assert [line[0] for line in workspace.doit("lock").stdout.splitlines()] == ["-", "-", "b"]
    assert "tiny-tool" not in workspace.read("build.lock")


def test_a_toolchain_for_a_gpu_that_is_elsewhere_stays(workspace: Workspace) -> None:
    gpu = X.replace('packages=["tiny-tool"])', 'packages=["of-the-gpu"], requires={"gpu": "sm_90"})')
    workspace.write({"models/x/BUILD.py": gpu})
    locked = '\n[toolchains.sm_90]\nof-the-gpu = "3.2"\n'
    workspace.doit("lock")
    assert "sm_90" not in workspace.read("build.lock")
    text = workspace.read("build.lock") + locked
    (workspace.root / "build.lock").write_text(text)
    workspace.doit("lock")
    assert locked in workspace.read("build.lock")
    assert workspace.build("--locked").skipped == {A}


def test_mistakes(workspace: Workspace, tool: Path) -> None:
    assert workspace.refuse("lock", "models/q") == "no package 'models/q' (did you mean 'models/y'?)"
    (tool / "tiny_data.txt").unlink()
    assert "the source dist://tiny-tool/tiny_data.txt does not exist" in workspace.refuse("lock")
