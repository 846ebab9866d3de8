"""`doit why`, after each kind of change."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import enginewright
from throwaway import DOIT, Workspace

A, B, C, D = "models/x:a", "models/x:b", "models/x:c", "models/y:d"
LEDGER = "build/.enginewright/ledger.jsonl"
OUT = {A: "build/models/x/a/out.txt", B: "build/models/x/b/out.txt", C: "build/models/x/c/out.txt", D: "build/models/y/d/out.txt"}
ID = r"\d{8}T\d{6}Z-\d+"


@pytest.fixture
def built(workspace: Workspace) -> Workspace:
    workspace.build()
    return workspace


def why(workspace: Workspace, *arguments: str) -> str:
    """What `doit why` says, with digests as #, and ids of builds as ID."""
    done = workspace.doit("why", *arguments)
    assert done.stderr == ""
    return re.sub(ID, "ID", re.sub(r"\b[0-9a-f]{8}\.\.\.", "#", done.stdout))


def as_json(workspace: Workspace, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(workspace.doit("why", "--json", *arguments).stdout)
    return found


def told(workspace: Workspace, label: str) -> str:
    """What `doit why` says of a target that is stale, which must be the same after a build, but for its being done then."""
    before = why(workspace, label)
    workspace.build(code=0)
    after = why(workspace, label)
    head, *causes = before.splitlines()
    assert head in (f"{label} is going to run, because", f"{label} may have to run, because")
    assert after.splitlines()[0] == f"{label} ran in build ID, because"
    expected = [cause.replace("may change", "changed: # -> #") for cause in causes]
    assert after.splitlines()[1:] == expected
    return "\n".join(expected)


def edit(workspace: Workspace, before: str, after: str, path: str = "models/x/BUILD.py") -> None:
    text = workspace.read(path)
    assert before in text
    (workspace.root / path).write_text(text.replace(before, after, 1))


def test_a_changed_source_is_followed_through_all_that_depends_on_it(built: Workspace) -> None:
    built.write({"models/x/src.txt": "three\n"})
    assert told(built, C) == (
        f"  input {B} ({OUT[B]}) changed: # -> #, because\n"
        f"    input {A} ({OUT[A]}) changed: # -> #, because\n"
        "      source models/x/src.txt changed: # -> #"
    )


def test_old_and_new_digests_are_told_in_full_as_json(built: Workspace) -> None:
    before = {label: each["outputs"][0]["digest"] for label, each in built.build().actions.items()}
    built.write({"models/x/src.txt": "three\n"})
    after = {label: each["outputs"][0]["digest"] for label, each in built.build().actions.items()}
    found = as_json(built, B)
    # The function of a copies its source, so that the digests of a's output are those of the source.
    assert found["causes"] == {
        B: [{"kind": "input", "name": "input/src", "old": before[A], "new": after[A], "path": OUT[A], "target": A}],
        A: [{"kind": "input", "name": "input/src", "old": before[A], "new": after[A], "path": "models/x/src.txt"}],
    }
    assert (found["label"], found["status"], found["reason"]) == (B, "built", "")
    assert re.fullmatch(ID, found["build"])


def test_what_was_cut_off_early_is_not_named(built: Workspace) -> None:
    built.write({"models/x/src.txt": "# a comment\none\n", "models/x/more.txt": "less\n"})
    assert why(built, C) == (
        f"{C} may have to run, because\n"
        f"  input {B} ({OUT[B]}) may change, because\n"
        f"    input {A} ({OUT[A]}) may change, because\n"
        "      source models/x/src.txt changed: # -> #\n"
        "  source models/x/more.txt changed: # -> #\n"
    )
    assert built.build().built == {A, C}
    assert why(built, C) == f"{C} ran in build ID, because\n  source models/x/more.txt changed: # -> #\n"
    assert why(built, B) == f"{B} ran in build ID, because\n  it had never been built here\n"


@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [
        ('name="c"', 'params={"times": 2}, name="c"', "parameter params.times is new"),
        ('name="c"', 'packages=["xxhash"], name="c"', "toolchain xxhash is new"),
        ('name="c"', 'srcs=["src.txt"], name="c"', "source models/x/src.txt is new"),
        (', "more": "more.txt"}', "}", "source models/x/more.txt is gone"),
        ('"b": ":b"', '"b": ":a"', "input path input/b changed: build/models/x/b/out.txt -> build/models/x/a/out.txt"),
        ('"b": ":b"', '"b": ":b", "d": "models/y:d"', f"input {D} ({OUT[D]}) is new"),
        ('"again": "again.txt"', '"again": "more.txt"', "output again changed: build/models/x/c/again.txt -> build/models/x/c/more.txt"),
    ],
)
def test_a_changed_declaration(built: Workspace, before: str, after: str, cause: str) -> None:
    edit(built, before, after)
    assert told(built, C) == f"  {cause}"


def test_a_changed_parameter_is_told_with_its_values(built: Workspace) -> None:
    edit(built, 'name="b"', 'name="b", params={"times": 2}')
    built.build()
    edit(built, '{"times": 2}', '{"times": 3}')
    assert told(built, C) == f"  input {B} ({OUT[B]}) changed: # -> #, because\n    parameter params.times changed: 2 -> 3"


def test_a_changed_code_file_of_a_rule(workspace: Workspace, tmp_path: Path) -> None:
    copy = tmp_path / "source"
    shutil.copytree(Path(enginewright.__file__).parent, copy / "enginewright", ignore=shutil.ignore_patterns("__pycache__"))
    workspace.environment["PYTHONPATH"] = str(copy)
    workspace.build()
    rule = copy / "enginewright/rules/python_action.py"
    rule.write_text(rule.read_text() + "\n# A comment\n")
    assert told(workspace, D) == "  code enginewright.rules.python_action changed: # -> #"
    assert why(workspace, B) == f"{B} ran in build ID, because\n  code enginewright.rules.python_action changed: # -> #\n"


def test_an_upgraded_distribution(workspace: Workspace, tmp_path: Path) -> None:
    info = tmp_path / "installed/some_tool-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "RECORD").write_text("some_tool.py,,\n")
    workspace.environment["PYTHONPATH"] = str(info.parent)
    edit(workspace, 'name="a"', 'name="a", packages=["some-tool"]')
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-tool\nVersion: 1.0\n")
    workspace.build()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-tool\nVersion: 1.1\n")
    edit(workspace, 'name="a"', 'name = "a"')  # no installer edits records in place, so that is not looked for
    assert why(workspace, A) == f"{A} is going to run, because\n  toolchain some-tool changed: 1.0 -> 1.1\n"
    workspace.build()
    assert why(workspace, A) == f"{A} ran in build ID, because\n  toolchain some-tool changed: 1.0 -> 1.1\n"
    assert why(workspace, B) == f"{B} ran in build ID, because\n  it had never been built here\n"


def test_a_new_target(built: Workspace) -> None:
    edit(built, 'name="d"', 'name="e"', "models/y/BUILD.py")
    assert told(built, "models/y:e") == "  it had never been built here"
    # What was declared once is still known of.
    assert why(built, D) == f"{D} ran in build ID, because\n  it had never been built here\n"


def test_what_was_forgotten(built: Workspace) -> None:
    built.doit("forget", A)
    assert why(built, B) == f"{B} may have to run, because\n  input {A} ({OUT[A]}) may change, because\n    forgotten\n"
    assert told(built, A) == "  forgotten"
    built.doit("forget", "models/x")
    assert why(built, B) == (f"{B} may have to run, because\n  forgotten\n  input {A} ({OUT[A]}) may change, because\n    forgotten\n")


def test_what_failed_before(built: Workspace) -> None:
    edit(built, ":copy", ":fail")
    built.build(code=1)
    assert why(built, A, "--build", "-1") == (
        f'{A} ran in build ID, where it failed, because\n  parameter function changed: "copy" -> "fail"\n'
    )
    assert "there is no such thing" in as_json(built, A, "--build", "-1")["reason"]
    assert why(built, A) == f"{A} is going to run, because\n  failed in build ID\n"
    assert why(built, B) == (
        f"{B} may have to run, because\n  input {A} ({OUT[A]}) may change, because\n"
        '    failed in build ID\n    parameter function changed: "copy" -> "fail"\n'
    )
    edit(built, ":fail", ":wait")
    edit(built, 'name="a"', 'name="a", params={"here": "/dev/null", "until": "/"}')
    assert told(built, A) == (
        "  failed in build ID\n"
        '  parameter function changed: "fail" -> "wait"\n'
        "  parameter params.here is new\n"
        "  parameter params.until is new"
    )


def test_outputs_that_are_missing_or_changed(built: Workspace) -> None:
    output = built.root / OUT[C]
    for remove in (True, False):
        output.chmod(0o644)
        output.unlink() if remove else output.write_text("edited")
        assert why(built, C) == f"{C} is going to be restored from the store, because\n  {OUT[C]} missing or changed on disk\n"
        built.build()
        assert why(built, C) == f"{C} was restored from the store in build ID, because\n  {OUT[C]} missing or changed on disk\n"


def test_a_result_that_the_store_has_lost(built: Workspace) -> None:
    (built.root / OUT[D]).unlink()
    shutil.rmtree(built.store / "blobs")
    assert told(built, D) == f"  {OUT[D]} missing or changed on disk; result not in the store"


def test_what_was_built_before_is_restored(built: Workspace) -> None:
    for text in ("three\n", "two\n"):
        built.write({"models/y/src.txt": text})
        report = built.build()
    assert report.cached == {D}
    assert why(built, D) == f"{D} was restored from the store in build ID, because\n  source models/y/src.txt changed: # -> #\n"


def test_a_fresh_clone_beside_a_kept_store(built: Workspace, tmp_path: Path) -> None:
    clone = built.clone(tmp_path / "clone")
    assert why(clone, B) == f"{B} is going to be restored from the store, because\n  it had never been built here\n"
    clone.build()
    assert why(clone, B) == f"{B} was restored from the store in build ID, because\n  it had never been built here\n"


def test_other_bytes_of_the_same_inputs(workspace: Workspace) -> None:
    unsteady = "import time\ndef now(inputs, outputs, params):\n    outputs['out'].write_text(str(time.time_ns()))\n"
    workspace.write({"models/x/make.py": workspace.make + unsteady})
    edit(workspace, ":copy", ":now")
    workspace.doit("build")
    workspace.doit("forget", A)
    workspace.doit("build")
    assert why(workspace, B) == (
        f"{B} ran in build ID, because\n  input {A} ({OUT[A]}) changed: # -> #, because\n"
        "    forgotten\n    it ran again and made other bytes of the same inputs: it is not reproducible\n"
    )


def test_what_cannot_be_built_here_is_skipped_with_its_reason(built: Workspace) -> None:
    built.doit("ignore", B)
    built.write({"models/x/src.txt": "three\n"})
    assert why(built, B) == f"{B} is skipped: it is ignored, until `doit forget {B}`\n"
    assert why(built, C) == f"{C} is skipped: it depends on {B}, which is ignored, until `doit forget {B}`\n"
    built.build()
    assert why(built, C, "--build", "-1") == f"{C} was skipped in build ID: it depends on {B}, which is ignored, until `doit forget {B}`\n"


def test_a_past_build_by_its_number_and_by_its_id(built: Workspace) -> None:
    built.write({"models/x/src.txt": "three\n"})
    built.build()
    edit(built, 'name="a"', 'name="a", params={"times": 2}')
    built.build()
    built.write({"models/y/src.txt": "five\n"})
    built.build()
    source = f"  input {A} ({OUT[A]}) changed: # -> #, because\n    source models/x/src.txt changed: # -> #\n"
    assert why(built, B, "--build", "-3") == f"{B} ran in build ID, because\n{source}"
    assert why(built, B, "--build=-4") == f"{B} ran in build ID, because\n  it had never been built here\n"
    assert why(built, B, "--build", "-1").startswith(f"{B}: build ID did nothing about it; it was up to date, not asked for, ")
    third = as_json(built, B)["build"]
    assert as_json(built, B, "--build", third) == as_json(built, B) == as_json(built, B, "--build", "-2")
    assert built.refuse("why", B, "--build", "-5").startswith(f"--build -5: no such build in {LEDGER}: it has 4, the last of them 2")
    assert built.refuse("why", B, "--build", "3").startswith("--build 3: no such build in ")


def test_a_build_of_only_a_part_explains_the_rest_later(built: Workspace) -> None:
    for text in ("three\n", "five\n"):
        built.write({"models/x/src.txt": text})
        built.build(A)
    assert told(built, B) == f"  input {A} ({OUT[A]}) changed: # -> #, because\n    source models/x/src.txt changed: # -> #"


@pytest.fixture
def other(built: Workspace, tmp_path: Path) -> Workspace:
    """The same sources, built elsewhere."""
    clone = built.clone(tmp_path / "other", tmp_path / "other store")
    clone.build()
    return clone


def test_another_machine_with_the_same_inputs(built: Workspace, other: Workspace) -> None:
    assert why(built, C, "--against", str(other.root / LEDGER)) == (
        f"{C} has nothing that differs from what it has in {other.root / LEDGER} since build ID\n"
    )


def test_another_machine_where_something_differs(built: Workspace, other: Workspace, tmp_path: Path) -> None:
    other.write({"models/x/src.txt": "three\n"})
    other.build()
    theirs = tmp_path / "theirs.jsonl"
    theirs.write_text(other.read(LEDGER).replace("linux-", "plan9-"))
    differs = f"{C} is not what it is in {theirs} since build ID, because\n  input {B} ({OUT[B]}) changed: # -> #, because\n"
    said = why(built, C, "--against", str(theirs))
    assert said.startswith(differs)
    assert "    input models/x:a" in said
    assert "      source models/x/src.txt changed: # -> #\n" in said
    assert said.count("platform changed: plan9-") == 3
    # The state that a past build left can be compared too.
    built.write({"models/x/src.txt": "five\n"})
    assert why(built, C, "--against", str(theirs), "--build", "-1") == said


def test_another_machine_before_anything_was_built_here(other: Workspace, tmp_path: Path) -> None:
    fresh = other.clone(tmp_path / "fresh", tmp_path / "fresh store")
    assert why(fresh, C, "--against", str(other.root / LEDGER)).startswith(f"{C} has nothing that differs")
    fresh.write({"models/x/src.txt": "three\n"})
    assert as_json(fresh, C, "--against", str(other.root / LEDGER))["causes"][A][0]["path"] == "models/x/src.txt"


def test_another_ledger_may_come_through_a_pipe(built: Workspace, other: Workspace) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"$0" why {C} --against <(cat "$1")', DOIT, other.root / LEDGER],
        cwd=built.root, env=built.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith(f"{C} has nothing that differs from what it has in /dev/fd/")


def test_another_ledger_that_does_not_help(built: Workspace, tmp_path: Path) -> None:
    for nothing in ("nowhere.jsonl", "models"):
        assert "there is no such file" in built.refuse("why", A, "--against", nothing)
    built.write({"empty.jsonl": ""})
    assert built.refuse("why", A, "--against", "empty.jsonl") == f"--against empty.jsonl: nothing is known of {A} in empty.jsonl"


def test_without_a_ledger_the_store_tells(built: Workspace) -> None:
    (built.root / LEDGER).unlink()
    assert why(built, A) == f"{A} is up to date, and the ledger has no build that did anything about it\n"
    built.write({"models/x/src.txt": "three\n"})
    assert told(built, A) == "  source models/x/src.txt changed: # -> #"


def test_mistakes(built: Workspace) -> None:
    assert "takes one label" in built.refuse("why")
    assert "takes one label" in built.refuse("why", A, B)
    assert "takes one label" in built.refuse("why", "models/x")
    assert built.refuse("why", "models/x:q").startswith("no target 'q' in package 'models/x'")
    built.write({"models/x/BUILD.py": "nonsense"})
    assert built.refuse("why", A).startswith("models/x/BUILD.py:1: name 'nonsense' is not defined")


def test_why_changes_nothing(built: Workspace) -> None:
    built.write({"models/x/src.txt": "three\n"})
    (built.root / OUT[D]).unlink()
    before = {path: path.stat() for folder in (built.root, built.store) for path in folder.rglob("*")}
    why(built, C)
    why(built, D)
    after = {path: path.stat() for folder in (built.root, built.store) for path in folder.rglob("*")}
    assert {path: (stat.st_mtime_ns, stat.st_size) for path, stat in before.items()} == {
        path: (stat.st_mtime_ns, stat.st_size) for path, stat in after.items()
    }


def test_a_build_with_nothing_to_do_does_not_touch_the_ledger(built: Workspace) -> None:
    (built.root / LEDGER).unlink()
    (built.root / LEDGER).mkdir()  # which cannot be opened
    assert built.build().up_to_date == {A, B, C, D}
    built.doit("build")
    built.doit("run", B)
    built.doit("list", "--all", "-s")
