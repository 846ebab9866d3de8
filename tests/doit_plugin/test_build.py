"""`doit build`: what it selects, its options, its output and its exit codes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from throwaway import Pipe, Workspace

SUMMARY = r"built {}, cached {}, up to date {}, skipped {}, failed {} in \d+\.\d s\n"
A, B, C, D = "models/x:a", "models/x:b", "models/x:c", "models/y:d"


def test_everything_is_built_once(workspace: Workspace) -> None:
    first = workspace.build()
    assert first.built == {A, B, C, D}
    assert {path: workspace.read(f"build/{path}") for path in workspace.files()} == {
        "models/x/a/out.txt": "one\n", "models/x/b/out.txt": "one\n",
        "models/x/c/out.txt": "one\nmore\n", "models/x/c/again.txt": "one\nmore\n", "models/y/d/out.txt": "two\n",
    }  # fmt: skip
    assert workspace.build().up_to_date == {A, B, C, D}
    assert workspace.leftovers() == []


def test_the_last_line_sums_up(workspace: Workspace) -> None:
    def summary(*arguments: str, code: int = 0) -> str:
        done = workspace.doit("build", *arguments, code=code)
        assert done.stderr == ""
        return done.stdout.splitlines(keepends=True)[-1]

    assert re.fullmatch(SUMMARY.format(4, 0, 0, 0, 0), summary())
    shutil.rmtree(workspace.root / "build/models/y")
    assert re.fullmatch(SUMMARY.format(0, 1, 3, 0, 0), summary())
    workspace.write({"models/x/make.py": workspace.make.replace("def copy(", "def fail_to_copy(")})
    assert re.fullmatch(SUMMARY.format(0, 0, 1, 2, 1), summary(code=1))


def test_a_line_tells_what_became_of_each_target(workspace: Workspace) -> None:
    assert [re.sub(r"\d+\.\d s", "T s", line) for line in workspace.doit("build", "-n1", B).stdout.splitlines()] == [
        "        running  models/x:a  PythonAction",
        "[1/2]   built    models/x:a  T s",
        "        running  models/x:b  PythonAction",
        "[2/2]   built    models/x:b  T s",
        "built 2, cached 0, up to date 0, skipped 0, failed 0 in T s",
    ]
    shutil.rmtree(workspace.root / "build/models/x/a")
    assert workspace.doit("build", B).stdout.startswith("        cached   models/x:a\nbuilt 0, cached 1, up to date 1, ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([A], {A}),
        ([B], {A, B}),
        ([f"//{B}"], {A, B}),
        (["models/x"], {A, B, C}),
        (["models/x/"], {A, B, C}),
        (["models/y", A], {A, D}),
        ([B, "-n", "1", "--continue"], {A, B}),
        (["--process=1", B], {A, B}),
    ],
)
def test_labels_and_packages_select(workspace: Workspace, arguments: list[str], expected: set[str]) -> None:
    report = workspace.build(*arguments)
    assert report.built == expected == report.actions.keys()
    assert {path.split("/out.txt")[0] for path in workspace.files() if "out" in path} == {each.replace(":", "/") for each in expected}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["models/z"], "no package 'models/z' (did you mean 'models/y'?)"),
        (["models/z:a"], "no package 'models/z' (did you mean 'models/y'?)"),
        (["models/y:dd"], "no target 'dd' in package 'models/y' (did you mean 'd'?)"),
        (["models/x:weights"], "no target 'weights' in package 'models/x' (there are: a, b, c)"),
        (["models/x:"], "'models/x:' is not a label: '' is not a target name"),
        (["-n"], "option -n requires argument; 'doit help build' lists the options"),
        (["--jsno"], "option --jsno not recognized; 'doit help build' lists the options"),
        ([A, "-n", "0"], "-n 0: at least one action must run at a time"),
    ],
)
def test_a_wrong_command_line_is_refused(workspace: Workspace, arguments: list[str], message: str) -> None:
    assert workspace.refuse("build", *arguments) == message
    assert workspace.files() == {}


def test_help_is_shown(workspace: Workspace) -> None:
    assert "doit build [LABEL | PACKAGE ...]" in workspace.doit("help", "build").stdout
    assert workspace.doit("build", A, "--help").stdout == workspace.doit("help", "build").stdout


def test_json_has_a_record_for_each_action(workspace: Workspace) -> None:
    done = workspace.doit("build", "--json", B)
    found = json.loads(done.stdout)
    assert {name: found[name] for name in ("built", "cached", "up_to_date", "skipped", "failed")} == {
        "built": 2, "cached": 0, "up_to_date": 0, "skipped": 0, "failed": 0,
    }  # fmt: skip
    assert re.fullmatch(SUMMARY.format(2, 0, 0, 0, 0), done.stderr.splitlines(keepends=True)[-1])
    assert found["seconds"] > 0
    first, second = found["actions"]
    assert (first["label"], second["label"]) == (A, B)
    assert (
        first.keys()
        == second.keys()
        == {"label", "mnemonic", "status", "log", "key", "seconds", "peak_rss", "sandbox", "executor", "host", "outputs"}
    )
    assert (second["mnemonic"], second["status"], second["seconds"] > 0, second["peak_rss"] > 2**20) == (
        "PythonAction",
        "built",
        True,
        True,
    )
    assert re.fullmatch("[0-9a-f]{32}", second["key"])
    (output,) = second["outputs"]
    assert (output["path"], output["size"]) == ("build/models/x/b/out.txt", 4)
    assert output["digest"] == first["outputs"][0]["digest"]
    assert workspace.read(second["log"]) == "copying src\n"

    again = json.loads(workspace.doit("build", "--json", B).stdout)
    assert [each["status"] for each in again["actions"]] == ["up to date"] * 2
    assert [each["key"] for each in again["actions"]] == [first["key"], second["key"]]


def test_json_tells_why_an_action_failed(workspace: Workspace) -> None:
    workspace.write({"models/x/BUILD.py": workspace.read("models/x/BUILD.py").replace(":copy", ":fail", 1)})
    report = workspace.build("models/x", code=1)
    assert report.actions[A].keys() == {"label", "mnemonic", "status", "reason", "log"}
    assert report.actions[A]["reason"].splitlines()[-1] == "  ValueError: there is no such thing"
    assert report.actions[B]["reason"] == report.actions[C]["reason"] == "depends on models/x:a, which failed"


PAIR = """
from enginewright import python_action

for name in ("a", "b"):
    python_action(
        name=name, function="make.py:wait", inputs={{"src": "src.txt"}}, outputs={{"out": "out.txt"}},
        params={{"here": "{folder}/" + name, "until": "{folder}/go"}},
    )
"""


def test_n_actions_run_at_a_time(workspace: Workspace, tmp_path: Path) -> None:
    workspace.write({"models/x/BUILD.py": PAIR.format(folder=tmp_path)})
    pipes = [Pipe(tmp_path / name) for name in ("a", "b")]
    build = workspace.start("build", "-n", "2", "models/x")
    for pipe in pipes:
        pipe.wait()
    (tmp_path / "go").touch()
    build.communicate()
    assert build.returncode == 0


def test_one_action_runs_at_a_time(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "busy").touch()
    lock = "busy = open(params['busy']); fcntl.flock(busy, fcntl.LOCK_EX | fcntl.LOCK_NB); time.sleep(0.02)"
    alone = f"    import fcntl, time; {lock}\n"
    workspace.write({"models/x/make.py": workspace.make.replace("    trace(outputs)\n", "    trace(outputs)\n" + alone)})
    workspace.write(
        {
            "models/x/BUILD.py": f"""
                from enginewright import python_action

                for i in range(5):
                    python_action(
                        name=f"alone_{{i}}", function="make.py:copy", inputs={{"src": "src.txt"}}, outputs={{"out": "out.txt"}},
                        params={{"busy": "{tmp_path}/busy"}},
                    )
                """
        }
    )
    assert len(workspace.build("-n", "1", "models/x").built) == 5


FAILING = """
from enginewright import python_action

python_action(name="fail", function="make.py:fail", inputs={"src": "src.txt"}, outputs={"out": "out.txt", "more": "more.txt"})
python_action(name="after", function="make.py:copy", inputs={"src": ":fail"}, outputs={"out": "out.txt"})
python_action(name="last", function="make.py:copy", inputs={"src": ":after"}, outputs={"out": "out.txt"})
python_action(name="good", function="make.py:copy", inputs={"src": "src.txt"}, outputs={"out": "out.txt"})
python_action(name="better", function="make.py:copy", inputs={"src": ":good"}, outputs={"out": "out.txt"})
"""


def test_a_build_stops_at_a_failure(workspace: Workspace) -> None:
    workspace.write({"models/x/BUILD.py": FAILING})
    report = workspace.build("-n", "1", "models/x", code=1)
    assert report.failed == {"models/x:fail"}
    assert report.built == set()
    assert report.actions["models/x:last"]["reason"] == "depends on models/x:fail, which failed"
    assert report.actions["models/x:better"]["reason"] == "was not reached"


def test_other_branches_go_on_with_continue(workspace: Workspace) -> None:
    workspace.write({"models/x/BUILD.py": FAILING})
    report = workspace.build("--continue", "models/x", code=1)
    assert report.failed == {"models/x:fail"}
    assert report.built == {"models/x:good", "models/x:better"}
    assert report.skipped == {"models/x:after", "models/x:last"}
    assert workspace.files().keys() == {"models/x/good/out.txt", "models/x/better/out.txt"}
    assert workspace.leftovers() == []


def test_nothing_stale_is_left_of_what_failed(workspace: Workspace) -> None:
    workspace.build()
    workspace.write({"models/x/BUILD.py": workspace.read("models/x/BUILD.py").replace(":copy", ":fail", 1)})
    assert workspace.build("--continue", code=1).failed == {A}
    assert "models/x/a/out.txt" not in workspace.files()
    assert workspace.leftovers() == []
    # What worked before is still known.
    workspace.write({"models/x/BUILD.py": workspace.read("models/x/BUILD.py").replace(":fail", ":copy", 1)})
    report = workspace.build()
    assert (report.cached, report.up_to_date) == ({A}, {B, C, D})


def test_what_failed_is_tried_again(workspace: Workspace) -> None:
    workspace.write({"models/x/BUILD.py": FAILING})
    assert workspace.build("models/x:fail", code=1).failed == {"models/x:fail"}
    assert workspace.build("models/x:fail", code=1).failed == {"models/x:fail"}


ENGINES = """
from enginewright import model_image, python_action, tensorrt_engine

python_action(name="net", function="make.py:copy", inputs={"src": "src.txt"}, outputs={"onnx": "net.onnx"})
tensorrt_engine(name="engine", model=":net", archs=["sm_103"])
model_image(name="image", engines=":engine")
"""


def test_what_this_machine_cannot_run_is_skipped_unless_it_is_named(workspace: Workspace) -> None:
    workspace.write({"models/x/BUILD.py": ENGINES})
    engine, layer = "models/x:engine_sm_103", "models/x:image.layer_sm_103"
    unmet = workspace.build().actions[engine]["reason"]
    assert unmet.startswith("needs a GPU of architecture sm_103, and there ")
    for selection in ("models/x", "models/x:engine"):
        report = workspace.build(selection)
        assert engine in report.skipped
        assert f"        skipped  {engine}: {unmet}\n" in report.text
    report = workspace.build()
    assert report.skipped == {engine, layer, "models/x:image.layer_manifest", "models/x:image.manifest", "models/x:image"}
    assert report.actions[layer]["reason"] == f"depends on {engine}, which {unmet}"

    assert workspace.refuse("build", engine) == f"{engine} {unmet}"
    assert workspace.refuse("build", f"//{layer}", "models/y") == f"{layer} depends on {engine}, which {unmet}"
    assert workspace.doit("run", engine).stdout == f"[2/2]   skipped  {engine}: {unmet}\n"


def test_the_store_is_where_the_setting_says(workspace: Workspace, tmp_path: Path) -> None:
    def blobs(store: Path) -> int:
        return sum(path.is_file() for path in store.glob("blobs/*/*"))

    workspace.build()
    assert blobs(workspace.store) == 3
    workspace.environment["ENGINEWRIGHT_STORE"] = "relative/to the workspace"
    workspace.build("models/y", code=0)
    assert blobs(workspace.root / "relative/to the workspace") == 0
    workspace.doit("forget", D)
    workspace.build("models/y")
    assert blobs(workspace.root / "relative/to the workspace") == 1

    del workspace.environment["ENGINEWRIGHT_STORE"]
    workspace.write({"pyproject.toml": f"{workspace.read('pyproject.toml')}[tool.enginewright]\nstore = '{tmp_path}/setting'\n"})
    workspace.doit("forget", D)
    workspace.build("models/y")
    assert blobs(tmp_path / "setting") == 1

    workspace.write({"pyproject.toml": workspace.read("pyproject.toml").partition("[tool.enginewright]")[0]})
    workspace.environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    workspace.doit("forget", D)
    workspace.build("models/y")
    assert blobs(tmp_path / "cache/enginewright") == 1
    workspace.environment.update(HOME=str(tmp_path / "home"), XDG_CACHE_HOME="")
    workspace.doit("forget", D)
    workspace.build("models/y")
    assert blobs(tmp_path / "home/.cache/enginewright") == 1
