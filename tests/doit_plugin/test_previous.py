"""What a target's last run offers to its next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginewright.doit_plugin.session import open_build
from enginewright.execute.outcome import Status
from enginewright.graph.label import Label
from throwaway import MEASURED, Workspace

BUILD = (
    MEASURED
    + """
measured(name="a", function="make.py:measure", inputs={"src": "src.txt"}, outputs={"out": "out.txt", "cache": "cache.txt"})
python_action(name="b", function="make.py:copy", inputs={"a": ":a"}, outputs={"out": "out.txt"})
"""
)
MEASURE = """
def measure(inputs, outputs, params):
    trace(outputs)
    text = inputs["src"].read_text()
    if text == "fails":
        raise ValueError("just so")
    offered = outputs["cache"].with_name("cache.txt.previous")
    outputs["out"].write_text(text)
    outputs["cache"].write_text((offered.read_text() if offered.exists() else "") + text)
"""
CACHE = "build/models/x/a/cache.txt"


@pytest.fixture
def measured(empty: Workspace) -> Workspace:
    empty.write({"models/x/BUILD.py": BUILD, "models/x/src.txt": "one,"})
    (empty.root / "models/x/make.py").write_text(empty.make + MEASURE)
    assert empty.build().built == {"models/x:a", "models/x:b"}
    return empty


def rebuilt(workspace: Workspace, source: str) -> str:
    workspace.write({"models/x/src.txt": source})
    assert workspace.build().built == {"models/x:a", "models/x:b"}
    assert workspace.leftovers() == []
    return workspace.read(CACHE)


def test_what_was_measured_is_there_for_the_next_run(measured: Workspace) -> None:
    assert measured.read(CACHE) == "one,"
    assert rebuilt(measured, "two,") == "one,two,"
    assert rebuilt(measured, "three,") == "one,two,three,"
    assert measured.build().ran == set()


def test_it_is_nothing_that_others_depend_on(measured: Workspace) -> None:
    rebuilt(measured, "two,")
    assert measured.read("build/models/x/b/out.txt") == "two,"
    assert "copying a\n" in measured.read("build/.enginewright/logs/models/x/b.log")


def test_it_is_not_in_the_key(measured: Workspace, tmp_path: Path) -> None:
    measured.write({"models/x/src.txt": "two,"})
    fresh = measured.clone(tmp_path / "fresh", tmp_path / "store2")
    keys = [each.build().actions["models/x:a"]["key"] for each in (measured, fresh)]
    assert keys[0] == keys[1]
    assert (measured.read(CACHE), fresh.read(CACHE)) == ("one,two,", "two,")


def test_what_was_forgotten_offers_nothing(measured: Workspace) -> None:
    measured.doit("forget", "models/x:a")
    assert rebuilt(measured, "two,") == "two,"


def test_it_is_offered_from_the_store_whatever_became_of_the_output(measured: Workspace) -> None:
    (measured.root / CACHE).write_text("edited")
    assert rebuilt(measured, "two,") == "one,two,"


def test_what_is_damaged_in_the_store_is_not_offered(measured: Workspace) -> None:
    for blob in (measured.store / "blobs").rglob("*"):
        if blob.is_file() and blob.read_bytes() == b"one,":
            blob.chmod(0o644)
            blob.write_bytes(b"two;")
    assert rebuilt(measured, "two,") == "two,"


def test_a_run_that_fails_takes_nothing_away(measured: Workspace) -> None:
    measured.write({"models/x/src.txt": "fails"})
    assert measured.build("models/x", code=1).failed == {"models/x:a"}
    assert rebuilt(measured, "two,") == "one,two,"


def test_another_workspace_with_the_same_store_is_offered_the_latest(measured: Workspace, tmp_path: Path) -> None:
    rebuilt(measured, "two,")
    fresh = measured.clone(tmp_path / "fresh")
    assert rebuilt(fresh, "three,") == "one,two,three,"


def test_what_became_of_the_store_does_not_matter(measured: Workspace) -> None:
    for note in (measured.store / "actions/latest").iterdir():
        note.write_bytes(b"\xff nothing")
    assert measured.doit("cache", "verify").returncode == 0
    measured.doit("cache", "gc", "--max-size", "0")
    (measured.root / "build/.enginewright/snapshot").unlink()
    assert rebuilt(measured, "two,") == "two,"


LACKING = """
from enginewright import python_action

python_action(name="a", function="make.py:copy", outputs={"out": "out.txt"}, packages=["no-such-thing"], requires={"gpu": "sm_10"})
python_action(name="b", function="make.py:copy", inputs={"a": ":a"}, outputs={"out": "out.txt"})
"""


def test_what_needs_a_gpu_is_skipped_where_a_distribution_is_missing(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    empty.write({"models/x/BUILD.py": LACKING, "models/x/make.py": empty.make})
    assert empty.build().skipped == {"models/x:a", "models/x:b"}
    assert empty.refuse("build", "models/x:b").startswith("models/x:b depends on models/x:a, which needs a GPU of architecture sm_10")
    # And where there is such a GPU.
    monkeypatch.chdir(empty.root)
    monkeypatch.setenv("ENGINEWRIGHT_STORE", str(empty.store))
    monkeypatch.setattr("enginewright.execute.placement.unmet", lambda requires: "")
    build = open_build(empty.root, look_only=True)
    assert build.pending(build.graph.deps) == []
    a, b = (build.outcomes[Label("models/x", name)] for name in "ab")
    assert (a.status, b.status) == (Status.SKIPPED, Status.SKIPPED)
    assert a.reason == "cannot run here: the distribution 'no-such-thing' is not installed here: pip install no-such-thing"
    assert b.reason == f"depends on models/x:a, which {a.reason}"
