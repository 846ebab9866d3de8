"""What makes a target stale, and what does not, by counting the actions that run; integration/test_what_peers_miss.py has more."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

import enginewright
from throwaway import PYPROJECT, Pipe, Report, Workspace

A, B, C, D = "models/x:a", "models/x:b", "models/x:c", "models/y:d"
ALL = {A, B, C, D}
BIG = """
from enginewright import python_action

python_action(name="big", function="make.py:copy", inputs={"src": "src.txt"}, outputs={"out": "out.txt"}, params={"times": 500_000})
python_action(name="user", function="make.py:copy", inputs={"src": ":big", "more": "more.txt"}, outputs={"out": "out.txt"})
"""


@pytest.fixture
def built(workspace: Workspace) -> Workspace:
    assert workspace.build().built == ALL
    return workspace


def sources(workspace: Workspace) -> list[Path]:
    return [path for path in workspace.root.rglob("*") if path.is_file() and ".enginewright" not in path.parts]


def test_rewritten_files_of_the_same_bytes_run_nothing(built: Workspace) -> None:
    for path in sources(built):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    report = built.build()
    assert report.ran == report.skipped == set()


def test_a_changed_input_runs_what_depends_on_it(built: Workspace) -> None:
    built.write({"models/x/more.txt": "less\n"})
    report = built.build()
    assert (report.built, report.up_to_date) == ({C}, {A, B, D})
    built.write({"models/x/src.txt": "three\n"})
    report = built.build()
    assert (report.built, report.up_to_date) == ({A, B, C}, {D})
    assert built.read("build/models/x/c/out.txt") == "three\nless\n"


def test_nothing_runs_after_an_action_that_made_the_same_bytes(built: Workspace) -> None:
    built.write({"models/x/src.txt": "# a comment\none\n"})
    report = built.build()
    assert (report.built, report.up_to_date) == ({A}, {B, C, D})


def test_what_was_built_before_is_restored(built: Workspace) -> None:
    built.write({"models/x/src.txt": "three\n"})
    assert built.build().built == {A, B, C}
    built.write({"models/x/src.txt": "one\n"})
    report = built.build()
    assert (report.cached, report.up_to_date) == ({A, B, C}, {D})
    assert built.read("build/models/x/c/out.txt") == "one\nmore\n"


@pytest.mark.parametrize(
    ("before", "after", "stale"),
    [
        ('name="c"', 'params={"times": 2}, name="c"', {C}),
        ('name="c"', 'packages=["xxhash"], name="c"', {C}),
        ('name="c"', 'srcs=["src.txt"], name="c"', {C}),
        ('"again": "again.txt"', '"again": "more.txt"', {C}),
        ('inputs={"b": ":b"', 'inputs={"a": ":a"', {C}),
        ('name="b"', 'params={"times": 1}, name="b"', {B}),
        ('python_action(name="a"', '\n\n# A comment\npython_action(name="a"', set()),
        ("from enginewright import python_action", "from enginewright import python_action, fp16", set()),
    ],
)
def test_a_changed_declaration_runs_its_target(built: Workspace, before: str, after: str, stale: set[str]) -> None:
    build_file = built.read("models/x/BUILD.py")
    built.write({"models/x/BUILD.py": build_file.replace(before, after)})
    assert built.read("models/x/BUILD.py") != build_file
    report = built.build()
    assert (report.built, report.up_to_date) == (stale, ALL - stale)


def test_a_new_target_runs_alone(built: Workspace) -> None:
    built.write({"models/y/BUILD.py": built.read("models/y/BUILD.py").replace('"d"', '"e"') + built.read("models/y/BUILD.py")})
    report = built.build()
    assert (report.built, report.up_to_date) == ({"models/y:e"}, ALL)


def test_an_output_edited_in_place_is_restored(built: Workspace) -> None:
    before = built.files()
    for edit in (b"edited", b"", built.read("build/models/x/a/out.txt").encode()[:-1]):
        output = built.root / "build/models/x/a/out.txt"
        output.chmod(0o644)
        output.write_bytes(edit)
        report = built.build()
        assert (report.cached, report.up_to_date) == ({A}, {B, C, D})
        assert built.files() == before


@pytest.mark.parametrize("replacement", ["link", "folder", "pipe", "loop"])
def test_an_output_replaced_by_something_else_is_restored(built: Workspace, replacement: str) -> None:
    before = built.files()
    output = built.root / "build/models/x/a/out.txt"
    output.unlink()
    if replacement == "link":
        output.symlink_to(built.root / "models/y/src.txt")
    elif replacement == "pipe":
        os.mkfifo(output)
    elif replacement == "loop":
        output.symlink_to(output.name)
    else:
        (output / "folder").mkdir(parents=True)
    report = built.build()
    assert (report.cached, report.up_to_date) == ({A}, {B, C, D})
    assert built.files() == before
    assert built.read("models/y/src.txt") == "two\n"


def test_an_output_may_lie_where_there_was_a_file_and_the_other_way_round(built: Workspace) -> None:
    before, build_file = built.files(), built.read("models/x/BUILD.py")
    deeper = build_file.replace('"out.txt"})\n', '"out.txt/deeper/out.txt"})\n')
    for text, status in ((deeper, "built"), (build_file, "cached"), (deeper, "cached")):
        built.write({"models/x/BUILD.py": text})
        report = Report.of(built.doit("build", "--json"))  # the trace would be that of other names
        assert {label: report.actions[label]["status"] for label in (A, B)} == {A: status, B: status}
        assert built.read("build/models/x/b/out.txt/deeper/out.txt") == "one\n" if text == deeper else built.files() == before

    # An action that fails leaves nothing of what was there before, whatever it was.
    for text in (build_file, deeper):
        built.write({"models/x/BUILD.py": text})
        built.doit("build")
        failing = (deeper if text == build_file else build_file).replace("make.py:copy", "make.py:fail", 1)
        built.write({"models/x/BUILD.py": failing})
        assert Report.of(built.doit("build", "--json", code=1)).failed == {A}


def test_an_output_goes_when_its_target_no_longer_makes_it(built: Workspace) -> None:
    before, build_file = set(built.files()), built.read("models/x/BUILD.py")
    renamed = build_file.replace('"again": "again.txt"', '"again": "new.txt"')
    for text in (renamed, build_file, renamed):  # built, restored, restored
        built.write({"models/x/BUILD.py": text})
        assert built.build().code == 0
        name = "again" if text == build_file else "new"
        assert set(built.files()) == before - {"models/x/c/again.txt"} | {f"models/x/c/{name}.txt"}


def test_what_a_user_made_of_an_old_output_or_another_target_has_now_stays(built: Workspace) -> None:
    build_file = built.read("models/x/BUILD.py")
    edited = built.root / "build/models/x/c/again.txt"
    edited.unlink()
    edited.write_text("mine\n")
    built.write({"models/x/BUILD.py": build_file.replace('"again": "again.txt"', '"again": "new.txt"')})
    assert built.build().built == {C}
    assert edited.read_text() == "mine\n"
    # An output of models/x:b may lie where one of models/x/b:deep lies later.
    deep = build_file.replace('{"src": ":a"}, outputs={"out": "out.txt"}', '{"src": ":a"}, outputs={"out": "deep/out.txt"}')
    built.write({"models/x/BUILD.py": deep})
    built.doit("build")
    assert built.read("build/models/x/b/deep/out.txt") == "one\n"
    other = built.read("models/y/BUILD.py").replace('"d"', '"deep"')
    built.write({"models/x/b/BUILD.py": other, "models/x/b/make.py": built.make, "models/x/b/src.txt": "four\n"})
    built.write({"models/x/BUILD.py": build_file})
    built.write({"pyproject.toml": PYPROJECT + '[tool.enginewright]\npackages = ["models/*", "models/x/*"]\n'})
    assert Report.of(built.doit("build", "--json")).built == {"models/x/b:deep"}
    assert built.read("build/models/x/b/deep/out.txt") == "four\n" and built.read("build/models/x/b/out.txt") == "one\n"


def edit_in_place(output: Path, size: int | None, keep_times: bool) -> None:
    """Overwrite the first byte, or cut the file to ``size``: through a hard link this reaches the store's blob too."""
    status = output.stat()
    output.chmod(0o644)
    with output.open("r+b") as file:
        file.truncate(size) if size is not None else file.write(b"X")
    output.chmod(0o444)
    if keep_times:
        os.utime(output, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(("size", "keep_times"), [(None, False), (None, True), (0, False), (2**20 + 1, True), (1_999_999, False)])
def test_a_large_output_edited_in_place_is_made_again(workspace: Workspace, size: int | None, keep_times: bool) -> None:
    workspace.write({"models/x/BUILD.py": BIG})
    workspace.build("models/x")
    before = workspace.files()
    output = workspace.root / "build/models/x/big/out.txt"
    assert (output.stat().st_size, output.stat().st_nlink) == (2_000_000, 2)
    edit_in_place(output, size, keep_times)
    report = workspace.build("models/x")
    assert (report.built, report.up_to_date) == ({"models/x:big"}, {"models/x:user"})
    assert workspace.files() == before
    assert workspace.build("models/x").up_to_date == {"models/x:big", "models/x:user"}
    assert len(list((workspace.store / "quarantine").iterdir())) == 1


LATER = """
from enginewright import python_action

python_action(name="a", function="make.py:write", inputs={{"src": "src.txt"}}, outputs={{"out": "out.txt"}}, params={{"times": {times}}})
python_action(
    name="w", function="make.py:wait", inputs={{"src": "src.txt"}}, outputs={{"out": "out.txt"}},
    params={{"here": "{folder}/here", "until": "{folder}/go"}},
)
python_action(name="c", function="make.py:copy", inputs={{"a": ":a", "w": ":w"}}, outputs={{"out": "out.txt"}})
"""


@pytest.mark.parametrize("times", [1, 500_000])
def test_an_output_that_somebody_edits_before_it_is_used_by_the_same_build(empty: Workspace, tmp_path: Path, times: int) -> None:
    empty.write(
        {"models/x/BUILD.py": LATER.format(folder=tmp_path, times=times), "models/x/make.py": empty.make, "models/x/src.txt": "one\n"}
    )
    here = Pipe(tmp_path / "here")
    build = empty.start("build", "-n", "2", "--json")
    here.wait()
    made = empty.root / "build/models/x/a/out.txt"
    while not made.exists():
        time.sleep(0.01)
    made.chmod(0o644)
    with made.open("r+") as file:
        file.write("two")
    time.sleep(0.1)  # until its time tells it from what may be written later
    (tmp_path / "go").touch()
    report = json.loads(build.communicate()[0])
    if times == 1:
        assert report["built"] == 3
    else:  # a hard link to the only good bytes there were
        assert [each["reason"] for each in report["actions"] if each["status"] == "failed"] == [
            "its input build/models/x/a/out.txt was changed by something else after it was made: build again"
        ]
        empty.doit("build")
    assert empty.read("build/models/x/c/out.txt") == "one\n" * (times + 1)
    assert made.read_text() == "one\n" * times


def test_a_damaged_blob_does_not_reach_another_workspace(workspace: Workspace, tmp_path: Path) -> None:
    workspace.write({"models/x/BUILD.py": BIG})
    workspace.build("models/x")
    before = workspace.files()
    other = workspace.clone(tmp_path / "other")
    edit_in_place(workspace.root / "build/models/x/big/out.txt", None, False)
    report = other.build("models/x")
    assert (report.built, report.cached) == ({"models/x:big"}, {"models/x:user"})
    assert other.files() == before


def test_an_input_with_its_old_time_is_noticed(built: Workspace) -> None:
    source = built.root / "models/x/src.txt"
    for text in ("longer than before\n", "same length, other\n"):
        status = source.stat()
        source.write_text(text)
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert source.stat().st_mtime_ns == status.st_mtime_ns
        assert built.build().built == {A, B, C}
        assert built.read("build/models/x/a/out.txt") == text


def test_an_input_replaced_by_an_older_file_is_noticed(built: Workspace) -> None:
    source = built.root / "models/x/src.txt"
    other = built.root / "models/x/other.txt"
    other.write_text("eno\n")
    os.utime(other, ns=(0, 0))
    other.rename(source)
    assert built.build().built == {A, B, C}


def test_a_fresh_store_makes_the_same_bytes_and_keys(built: Workspace, tmp_path: Path) -> None:
    clone = built.clone(tmp_path / "clone", tmp_path / "another store")
    report = clone.build()
    assert report.built == ALL
    assert clone.files() == built.files()
    assert {label: each["key"] for label, each in report.actions.items()} == {
        label: each["key"] for label, each in built.build().actions.items()
    }


def test_a_missing_blob_is_made_again(built: Workspace) -> None:
    before = built.files()
    shutil.rmtree(built.store / "blobs")
    assert built.build().up_to_date == ALL
    shutil.rmtree(built.root / "build")
    assert built.build().built | {B} == ALL  # a and b make the same blob
    assert built.files() == before


def test_a_damaged_record_counts_as_none(built: Workspace) -> None:
    shutil.rmtree(built.root / "build")
    for record in built.store.glob("actions/*/*.json"):
        record.write_bytes(record.read_bytes()[:100])
    assert built.build().built == ALL


def test_a_damaged_snapshot_counts_as_none(built: Workspace) -> None:
    snapshot = built.root / "build/.enginewright/snapshot"
    for damaged in (b"", b"\0" * 100, snapshot.read_bytes()[:-1]):
        snapshot.write_bytes(damaged)
        assert built.build().ran == set()


@pytest.fixture
def edited(workspace: Workspace, tmp_path: Path) -> Workspace:
    """The same workspace, built by a copy of Enginewright's own source that a test may edit."""
    copy = tmp_path / "source"
    shutil.copytree(Path(enginewright.__file__).parent, copy / "enginewright", ignore=shutil.ignore_patterns("__pycache__"))
    workspace.environment["PYTHONPATH"] = str(copy)
    workspace.write(
        {"images/x/BUILD.py": 'from enginewright import files_layer\nfiles_layer(name="l", files={"/out.txt": "models/y:d"})\n'}
    )
    assert workspace.build().built == {*ALL, "images/x:l"}
    return workspace


def test_a_changed_rule_runs_exactly_its_targets(edited: Workspace, tmp_path: Path) -> None:
    rules = tmp_path / "source/enginewright/rules"
    layer, action = rules / "layer.py", rules / "python_action.py"

    layer.write_text(layer.read_text() + "\n# A comment\n")
    report = edited.build()
    assert (report.built, report.up_to_date) == ({"images/x:l"}, ALL)

    # The action's own process runs the edited source too.
    action.write_text(action.read_text().replace("    function = load_function(", '    print("edited")\n    function = load_function('))
    report = edited.build()
    assert (report.built, report.up_to_date) == (ALL, {"images/x:l"})
    assert edited.read(report.actions[D]["log"]) == "edited\ncopying src\n"

    for unrelated in ("rules/engine.py", "model/onnx_format.py", "doit_plugin/build.py", "store/content.py", "execute/build.py"):
        path = tmp_path / "source/enginewright" / unrelated
        path.write_text(path.read_text() + "\n# A comment\n")
    assert edited.build().up_to_date == {*ALL, "images/x:l"}

    # What the sandbox does may change every result.
    guard = tmp_path / "source/enginewright/execute/guard.py"
    guard.write_text(guard.read_text() + "\n# A comment\n")
    assert edited.build().built == {*ALL, "images/x:l"}


def test_where_enginewright_lies_is_no_part_of_a_key(edited: Workspace, tmp_path: Path) -> None:
    (tmp_path / "source").rename(tmp_path / "moved")
    edited.environment["PYTHONPATH"] = str(tmp_path / "moved")
    shutil.rmtree(edited.root / "build")
    assert edited.build().cached == {*ALL, "images/x:l"}
    assert sys.prefix not in "".join(path.read_text() for path in edited.store.glob("actions/*/*.json"))
