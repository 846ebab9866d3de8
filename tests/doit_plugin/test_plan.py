"""`doit plan`, and that builds do what it says."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from throwaway import Report, Workspace

A, B, C, D = "models/x:a", "models/x:b", "models/x:c", "models/y:d"
ALL = {A, B, C, D}
BUILD_FILE = "models/x/BUILD.py"


@pytest.fixture
def built(workspace: Workspace) -> Workspace:
    workspace.build()
    return workspace


def plan(workspace: Workspace, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(workspace.doit("plan", "--json", *arguments).stdout)
    return found


def labels(found: Mapping[str, Any], status: str) -> set[str]:
    return {step["label"] for step in found["steps"] if step["status"] == status}


def lines(workspace: Workspace, *arguments: str) -> list[str]:
    """What `doit plan` says, with digests as #, times as T and memory as M."""
    told = workspace.doit("plan", *arguments).stdout
    return re.sub(r"\d+ MB of", "M of", re.sub(r"\b\d+\.\d s", "T s", re.sub(r"\b[0-9a-f]{8}\.\.\.", "#", told))).splitlines()


def as_planned(workspace: Workspace, *arguments: str, code: int = 0) -> tuple[dict[str, Any], Report]:
    """The plan of a build and what it then did: exactly that, but for what might have run and did not have to."""
    found = plan(workspace, *arguments)
    report = workspace.build(*arguments, code=code)
    runs, may_run = labels(found, "to run"), labels(found, "may run")
    assert runs <= report.ran <= runs | may_run
    assert labels(found, "to restore") <= report.cached <= labels(found, "to restore") | may_run
    assert labels(found, "to skip") <= report.skipped <= labels(found, "to skip") | may_run
    assert found["up_to_date"] == len(report.up_to_date - may_run)
    assert len(report.actions) == found["up_to_date"] + len(found["steps"])
    return found, report


def edit(before: str, after: str) -> Callable[[Workspace], None]:
    def apply(workspace: Workspace) -> None:
        text = workspace.read(BUILD_FILE)
        assert before in text
        (workspace.root / BUILD_FILE).write_text(text.replace(before, after, 1))

    return apply


def lose_results(workspace: Workspace) -> None:
    shutil.rmtree(workspace.store / "actions")


EDITS: Mapping[str, tuple[Callable[[Workspace], object], set[str], set[str], set[str]]] = {
    # What is changed, what is to run, what may run, and what is to be restored.
    "nothing": (lambda w: None, set(), set(), set()),
    "a source": (lambda w: w.write({"models/x/src.txt": "three\n"}), {A}, {B, C}, set()),
    "a comment": (lambda w: w.write({"models/x/src.txt": "# a comment\none\n"}), {A}, {B, C}, set()),
    "two sources": (lambda w: w.write({"models/x/more.txt": "less\n", "models/y/src.txt": "five\n"}), {C, D}, set(), set()),
    "a function": (lambda w: w.write({"models/x/make.py": w.make + "\n# A comment\n"}), {A}, {B, C}, set()),
    "a parameter": (edit('name="b"', 'name="b", params={"times": 2}'), {B}, {C}, set()),
    "an output": (edit('"again.txt"', '"more.txt"'), {C}, set(), set()),
    "an input": (edit('"b": ":b"', '"b": ":a"'), {C}, set(), set()),
    "a name": (edit('name="c"', 'name="e"'), {"models/x:e"}, set(), set()),
    "where it is declared": (edit("\npython_action", "\n\n# A comment\npython_action"), set(), set(), set()),
    "outputs deleted": (lambda w: shutil.rmtree(w.root / "build/models/x"), set(), set(), {A, B, C}),
    "a source, and an output deleted": (
        lambda w: (w.write({"models/x/more.txt": ""}), shutil.rmtree(w.root / "build/models/x/b")), {C}, set(), {B}
    ),
    "everything deleted": (lambda w: shutil.rmtree(w.root / "build"), set(), set(), ALL),
    "everything deleted, and the store": (lambda w: (shutil.rmtree(w.root / "build"), shutil.rmtree(w.store)), {A, D}, {B, C}, set()),
    "the results": (lose_results, set(), set(), set()),
    "the blobs, and an output": (
        lambda w: (shutil.rmtree(w.store / "blobs"), shutil.rmtree(w.root / "build/models/x/a")), {A}, {B, C}, set()
    ),
    "forgotten": (lambda w: w.doit("forget", B), {B}, {C}, set()),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_a_build_does_what_the_plan_says(built: Workspace, name: str) -> None:
    change, runs, may_run, restored = EDITS[name]
    change(built)
    found, _ = as_planned(built)
    assert (labels(found, "to run"), labels(found, "may run"), labels(found, "to restore")) == (runs, may_run, restored)
    assert all(step["causes"] for step in found["steps"])
    found, report = as_planned(built)
    assert found["steps"] == [] and not report.ran


def test_the_plan_of_a_first_build(workspace: Workspace) -> None:
    found, report = as_planned(workspace)
    assert (labels(found, "to run"), labels(found, "may run"), report.built) == ({A, D}, {B, C}, ALL)
    assert (found["unknown"], found["seconds"]) == (4, 0)


def test_the_plan_of_a_part(built: Workspace) -> None:
    built.write({"models/x/src.txt": "three\n", "models/y/src.txt": "five\n"})
    found, _ = as_planned(built, B)
    assert (labels(found, "to run"), labels(found, "may run")) == ({A}, {B})
    found, _ = as_planned(built, "models/y")
    assert (labels(found, "to run"), labels(found, "may run")) == ({D}, set())


def test_after_a_failure(built: Workspace) -> None:
    edit(":copy", ":fail")(built)
    found, report = as_planned(built, code=1)
    assert (labels(found, "to run"), report.failed, report.skipped) == ({A}, {A}, {B, C})
    edit(":fail", ":copy")(built)
    found, report = as_planned(built)
    # The store still has what the first build made.
    assert labels(found, "to restore") == report.cached == {A}


def test_what_is_skipped(built: Workspace) -> None:
    built.doit("ignore", B)
    built.write({"models/x/src.txt": "three\n"})
    found, _ = as_planned(built)
    assert (labels(found, "to run"), labels(found, "to skip")) == ({A}, {B, C})
    needs_gpu = """
        from enginewright import checkpoint, onnx_model, tensor, tensorrt_engine

        checkpoint(name="weights", src="net.pth")
        onnx_model(name="net", checkpoint=":weights", inputs={"x": tensor("float32", (1, 4))}, outputs=["y"])
        tensorrt_engine(name="engine", model=":net", archs=["sm_103"])
        """
    built.write({"models/z/BUILD.py": needs_gpu, "models/z/net.py": "", "models/z/net.pth": ""})
    (step,) = [step for step in plan(built)["steps"] if step["label"] == "models/z:engine_sm_103"]
    assert (step["status"], step["estimate"]) == ("to skip", None)
    assert step["reason"].startswith("needs a GPU of architecture sm_103, and there ")


def test_lines(built: Workspace) -> None:
    built.write({"models/x/src.txt": "three\n"})
    shutil.rmtree(built.root / "build/models/y")
    assert lines(built, "-n", "3") == [
        f"to run      {A}: source models/x/src.txt changed: # -> # (T s, M of memory: its last run)",
        f"may run     {B}: input {A} may change (T s, M of memory: its last run)",
        f"may run     {C}: input {B} may change (T s, M of memory: its last run)",
        f"to restore  {D}: build/models/y/d/out.txt missing or changed on disk",
        "to run 1, may run 2, to restore 1, to skip 0, up to date 0",
        "time: at most T s with -n 3",
        f"critical path: T s, {A} -> {B} -> {C}",
        "disk: 26 B in the store, 30 B below build/",
    ]
    built.build()
    assert lines(built) == ["to run 0, may run 0, to restore 0, to skip 0, up to date 4"]


def test_estimates_come_from_the_last_run_or_from_the_same_kind_of_action(built: Workspace) -> None:
    records = built.build().actions
    edit('name="b"', 'params={"times": 2}, name="b"')(built)
    edit('name="c"', 'name="new"')(built)
    found = plan(built)
    known, new = (step["estimate"] for step in found["steps"])
    assert known["basis"] == "its last run"
    assert (round(known["seconds"], 3), known["peak_rss"]) == (records[B]["seconds"], records[B]["peak_rss"])
    assert new["basis"] == "the median of 4 PythonAction"
    seconds = sorted(each["seconds"] for each in records.values())
    assert seconds[1] <= round(new["seconds"], 3) <= seconds[2]
    assert found["critical_path"] == [B, "models/x:new"]
    assert found["seconds"] == found["critical_seconds"] == known["seconds"] + new["seconds"]
    assert (known["size"], new["size"]) == (4, 4)


def test_fewer_processes_take_longer(built: Workspace) -> None:
    built.write({"models/x/more.txt": "less\n", "models/y/src.txt": "five\n"})
    one, two = plan(built, "-n1"), plan(built, "-n2")
    taken = [step["estimate"]["seconds"] for step in one["steps"]]
    assert (one["seconds"], two["seconds"]) == (sum(taken), max(taken))
    assert (one["processes"], two["processes"]) == (1, 2)


def test_a_plan_changes_nothing(built: Workspace) -> None:
    built.write({"models/x/src.txt": "three\n"})
    shutil.rmtree(built.root / "build/models/y")

    def state() -> dict[Path, tuple[int, int]]:
        files = (path for folder in (built.root, built.store) for path in folder.rglob("*"))
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}

    before = state()
    lines(built)
    assert state() == before
    shutil.rmtree(built.root / "build")
    lines(built)
    assert not (built.root / "build").exists()


def test_mistakes(built: Workspace) -> None:
    assert built.refuse("plan", "models/q").startswith("no package 'models/q'")
    assert built.refuse("plan", "-n", "0").startswith("-n 0: at least one action must run at a time")
    (built.root / "models/x/src.txt").unlink()
    assert built.refuse("plan").endswith("the source models/x/src.txt does not exist")


def test_a_chain_may_be_deep(workspace: Workspace) -> None:
    declared = """
        from enginewright import python_action

        for i in range(1500):
            src = f":t{i - 1}" if i else "src.txt"
            python_action(name=f"t{i}", function="make.py:copy", inputs={"src": src}, outputs={"out": "out.txt"})
        """
    workspace.write({"models/y/BUILD.py": declared})
    found = plan(workspace, "models/y:t1499")
    assert [step["status"] for step in found["steps"]] == ["to run"] + ["may run"] * 1499
    assert lines(workspace, "models/y:t1499")[0].startswith("to run      models/y:t0: it had never been built here")


def test_an_output_of_a_target_that_was_renamed_is_no_source(workspace: Workspace) -> None:
    declared = 'from enginewright import files_layer\nfiles_layer(name="layer", files={"/app/": "models/y:d"})\n'
    workspace.write({"images/x/BUILD.py": declared})
    workspace.build()
    for path in ("images/x/BUILD.py", "models/y/BUILD.py"):
        workspace.write({path: workspace.read(path).replace("y:d", "y:e").replace('name="d"', 'name="e"')})
    assert lines(workspace)[1].startswith("may run     images/x:layer: input models/y:d is gone, and 2 more (")
