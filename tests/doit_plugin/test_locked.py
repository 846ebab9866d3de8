"""`doit build --locked` and targets that are not the same twice: taken as they are locked, or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from enginewright.release.lock import Locked, parse, render
from enginewright.store.digest import file_digests
from pinned import lock_elsewhere
from throwaway import PYPROJECT, Report, Workspace

CHANCE, AFTER = "models/z:chance", "models/z:after"
Z = """
from enginewright import python_action

python_action(name="chance", function="chance.py:chance", outputs={"out": "out.txt", "tree": "tree.txt"})
python_action(name="after", function="make.py:copy", inputs={"src": ":chance"}, outputs={"out": "out.txt"})
"""
FUNCTION = """
import os


def chance(inputs, outputs, params):
    trace(outputs)
    for path in outputs.values():
        path.write_text(os.urandom(8).hex() * 100000)
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a target that is different each time, which has been verified and locked, and one that depends on it."""
    folder = tmp_path_factory.mktemp("locked")
    made = Workspace(folder / "workspace", folder / "store", folder / "trace")
    made.write({"dodo.py": "", "pyproject.toml": PYPROJECT})
    made.write({"models/z/BUILD.py": Z, "models/z/make.py": made.make, "models/z/chance.py": made.make + FUNCTION})
    made.doit("verify", CHANCE, "--require=none")
    made.build()
    assert made.doit("lock").stdout == "build.lock: 0 sources, 1 distribution, 1 output\n"
    return made


@pytest.fixture
def workspace(original: Workspace, tmp_path: Path) -> Workspace:
    """A copy of it, outputs, store and all."""
    for name in ("workspace", "store"):
        shutil.copytree(original.root.parent / name, tmp_path / name, symlinks=True)
    original.trace.lines()
    return Workspace(tmp_path / "workspace", tmp_path / "store", original.trace.path)


def test_what_is_not_the_same_twice_is_locked_by_its_bytes(workspace: Workspace) -> None:
    lock = parse(workspace.read("build.lock"))
    pinned = lock.outputs[CHANCE]
    path = workspace.root / "build/models/z/chance/out.txt"
    fast, strong = file_digests(path)
    assert pinned.reproducible == "none"
    assert pinned.files["out"] == Locked(strong, path.stat().st_size, fast)
    assert workspace.doit("lock", "--check").stdout.startswith("build.lock is up to date")


def test_a_clone_takes_it_from_the_store(workspace: Workspace, tmp_path: Path) -> None:
    clone = workspace.clone(tmp_path / "clone")
    report = clone.build("--locked")
    assert report.cached == {CHANCE, AFTER}
    assert clone.files() == workspace.files()
    assert clone.build("--locked").up_to_date == {CHANCE, AFTER}
    assert clone.build().up_to_date == {CHANCE, AFTER}


def test_what_was_built_again_gives_way_to_what_is_locked(workspace: Workspace) -> None:
    before = workspace.files()
    workspace.doit("forget", CHANCE)
    assert workspace.build().built == {CHANCE, AFTER}
    assert workspace.files() != before
    assert workspace.build("--locked").cached == {CHANCE, AFTER}
    assert workspace.files() == before


def test_it_outlives_what_takes_its_place(workspace: Workspace) -> None:
    before = workspace.files()
    workspace.doit("forget", CHANCE)
    workspace.build()
    workspace.doit("cache", "gc", "--older-than", "0s")
    assert workspace.build("--locked").cached >= {CHANCE}
    assert workspace.files() == before


def test_it_is_never_silently_rebuilt(workspace: Workspace, tmp_path: Path) -> None:
    clone = workspace.clone(tmp_path / "clone", tmp_path / "empty store")
    report = clone.doit("build", "--json", "--locked", code=1)
    actions = {each["label"]: each for each in json.loads(report.stdout)["actions"]}
    assert actions[AFTER]["status"] == "skipped"
    assert actions[CHANCE]["reason"].startswith("is locked as build/models/z/chance/out.txt of sha256:")
    assert "which is not in the store: bring the locked bytes there" in actions[CHANCE]["reason"]
    assert clone.trace.lines() == []


def test_what_is_locked_must_be_of_what_is_here(workspace: Workspace) -> None:
    before = workspace.files()
    workspace.write({"models/z/chance.py": workspace.read("models/z/chance.py").replace("100000", "100001")})
    report = workspace.doit("build", "--json", "--locked", code=1)
    (action,) = [each for each in json.loads(report.stdout)["actions"] if each["label"] == CHANCE]
    assert action["reason"].startswith("was locked as it was made with another input models/z/chance.py: put that back, or build it")
    assert workspace.trace.lines() == []
    assert workspace.files() == before


def test_other_bytes_under_a_locked_name_are_refused(workspace: Workspace) -> None:
    """The store's own digest is no proof of who made the bytes: the SHA-256 of the lock is."""
    lock = workspace.read("build.lock")
    strong = parse(lock).outputs[CHANCE].files["out"].sha256
    workspace.write({"build.lock": lock.replace(strong, "0" * 64)})
    report = workspace.doit("build", "--json", "--locked", code=1)
    assert f"has sha256:{strong}, and sha256:{'0' * 64} is locked" in report.stdout


def test_one_that_is_not_locked_is_not_built(workspace: Workspace) -> None:
    lock = parse(workspace.read("build.lock"))
    workspace.write({"build.lock": render(replace(lock, outputs={}))})
    assert workspace.build("--locked").up_to_date == {CHANCE, AFTER}  # it need not be
    workspace.doit("forget", CHANCE)
    report = workspace.doit("build", "--json", "--locked", code=1)
    assert "would not come out the same again, and is not in the lock" in report.stdout
    assert workspace.trace.lines() == []


def test_a_machine_without_the_gpu_takes_what_one_with_it_has_locked(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    made_of = 'function="make.py:copy", inputs={"a": "a.txt"}, outputs={"out": "out.txt"}'
    declared = f'python_action(name="gpu", {made_of}, requires={{"gpu": "sm_00"}})\n'
    workspace.write({"models/g/BUILD.py": f"from enginewright import python_action\n{declared}", "models/g/make.py": workspace.make})
    workspace.write({"models/g/a.txt": "a\n"})
    assert workspace.build("--locked").skipped == {"models/g:gpu"}
    assert "models/g:gpu cannot be made again as it was, and needs a GPU" in workspace.doit("lock").stdout

    lock_elsewhere(workspace, "models/g:gpu", "made there\n", monkeypatch)
    assert workspace.build("--locked").cached == {"models/g:gpu"}
    assert workspace.read("build/models/g/gpu/out.txt") == "made there\n"
    assert "what is locked of it stays" in workspace.doit("lock", "--check").stdout


def test_it_is_taken_from_a_shared_cache_by_its_digest(workspace: Workspace, tmp_path: Path) -> None:
    workspace.environment["ENGINEWRIGHT_REMOTE_CACHE"] = f"file://{tmp_path / 'shared'}"
    workspace.doit("forget", CHANCE)
    workspace.build()
    workspace.doit("verify", CHANCE, "--require=none")
    workspace.doit("lock")
    before = workspace.files()
    # The result that the cache has of the action is another by now; the locked bytes are there still.
    workspace.doit("forget", CHANCE)
    workspace.build()
    assert workspace.files() != before
    clone = workspace.clone(tmp_path / "clone", tmp_path / "empty store")
    clone.environment["ENGINEWRIGHT_REMOTE_CACHE"] = workspace.environment["ENGINEWRIGHT_REMOTE_CACHE"]
    assert CHANCE in clone.build("--locked").cached
    path = "models/z/chance/out.txt"
    assert clone.files()[path] == before[path]

    # What was left in the cache is fetched to be compared.
    other = workspace.clone(tmp_path / "other", tmp_path / "another empty store")
    other.environment["ENGINEWRIGHT_REMOTE_CACHE"] = workspace.environment["ENGINEWRIGHT_REMOTE_CACHE"]
    assert other.build(AFTER).ran == set()
    assert "bit 1, numerical 0, none 1, failed 0" in other.doit("verify", AFTER, "--deps", code=1).stdout


FOLDER = """
from dataclasses import dataclass, replace
from typing import ClassVar

from enginewright.graph.rule import declaration
from enginewright.rules.python_action import PythonAction

@dataclass(frozen=True, kw_only=True)
class Folder(PythonAction):
    kind: ClassVar[str] = "folder"

    def action(self, context):
        return replace(super().action(context), outputs={"out": context.output("", tree=True)})

declaration(Folder)(name="folder", function="folder.py:fill", outputs={"out": "folder"})
"""
FILL = """
import os

def fill(inputs, outputs, params):
    outputs["out"].mkdir(exist_ok=True)
    for name in ("a", "b"):
        (outputs["out"] / name).write_text(os.urandom(8).hex())
"""


def test_a_folder_is_taken_from_a_shared_cache(workspace: Workspace, tmp_path: Path) -> None:
    workspace.environment["ENGINEWRIGHT_REMOTE_CACHE"] = f"file://{tmp_path / 'shared'}"
    workspace.write({"models/f/BUILD.py": FOLDER, "models/f/folder.py": FILL})
    label = "models/f:folder"
    workspace.doit("build", label)
    workspace.doit("verify", label, "--require=none")
    workspace.doit("lock")
    clone = workspace.clone(tmp_path / "clone", tmp_path / "empty store")
    clone.environment["ENGINEWRIGHT_REMOTE_CACHE"] = workspace.environment["ENGINEWRIGHT_REMOTE_CACHE"]
    assert Report.of(clone.doit("build", "--json", "--locked", label)).cached == {label}
    for name in ("a", "b"):
        assert clone.read(f"build/models/f/folder/{name}") == workspace.read(f"build/models/f/folder/{name}")
