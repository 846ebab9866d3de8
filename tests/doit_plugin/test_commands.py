"""doit's own commands over the workspace's targets."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from throwaway import Workspace

A, B, C, D = "models/x:a", "models/x:b", "models/x:c", "models/y:d"

IMAGE = """
from enginewright import files_layer, image

files_layer(name="layer", files={"/app/": "models/x:c"})
image(name="image", layers=[":layer"])
"""


def test_list_shows_packages_and_with_all_their_targets(workspace: Workspace) -> None:
    assert workspace.doit("list").stdout.split("\n") == [
        "build      every target of the workspace",
        "models/x   3 targets of models/x/BUILD.py",
        "models/y   1 target of models/y/BUILD.py",
        "",
    ]
    listed = workspace.doit("list", "--all").stdout
    assert "models/x:c   python_action: build/models/x/c/out.txt, build/models/x/c/again.txt\n" in listed
    assert workspace.doit("list", "--all", "-q").stdout.split() == ["build", "models/x", A, B, C, "models/y", D]
    assert workspace.files() == {}


def test_list_shows_the_status_of_targets_and_changes_nothing(workspace: Workspace) -> None:
    def status() -> dict[str, str]:
        lines = workspace.doit("list", "--all", "-s", "-q").stdout.splitlines()
        return {name: letter for letter, name in map(str.split, lines) if ":" in name}

    assert status() == {A: "R", B: "R", C: "R", D: "R"}
    workspace.build()
    assert status() == {A: "U", B: "U", C: "U", D: "U"}
    workspace.write({"models/x/more.txt": "less\n"})
    assert status() == {A: "U", B: "U", C: "R", D: "U"}
    # A target whose outputs only need to be restored is not there yet.
    shutil.rmtree(workspace.root / "build/models/y")
    assert status() == {A: "U", B: "U", C: "R", D: "R"}
    assert not (workspace.root / "build/models/y").exists()
    workspace.doit("ignore", C)
    assert status()[C] == "I"


def test_info_tells_of_a_target(workspace: Workspace) -> None:
    told = workspace.doit("info", C, code=1).stdout
    assert "status     : run\n" in told
    for line in (" - models/x:b\n", " - build/models/x/c/again.txt\n", "'models/x/BUILD.py:5'", "'models/x/more.txt'", "'PythonAction'"):
        assert line in told
    workspace.build()
    assert "status     : up-to-date\n" in workspace.doit("info", C).stdout


def test_clean_takes_outputs_away_and_the_next_build_restores_them(workspace: Workspace) -> None:
    workspace.write({"images/x/BUILD.py": IMAGE})
    workspace.build()
    built = workspace.files()
    assert "\nimages/x:image - removing build/images/x/image\n" in workspace.doit("clean", "-n").stdout
    assert workspace.files() == built

    assert workspace.doit("clean", A).stdout == "models/x:a - removing build/models/x/a/out.txt\n"
    assert built.keys() - workspace.files().keys() == {"models/x/a/out.txt"}
    assert workspace.doit("clean", "images/x:image").stdout == "images/x:image - removing build/images/x/image\n"
    assert not (workspace.root / "build/images/x/image").exists()
    report = workspace.build()
    assert (report.built, report.cached) == (set(), {A, "images/x:image"})
    assert workspace.files() == built

    workspace.doit("clean", "models/x")
    assert workspace.files().keys() == {path for path in built if not path.startswith("models/x/")}
    workspace.doit("clean")
    assert workspace.files() == {}
    assert workspace.doit("clean").stdout == ""
    assert workspace.build().built == set()
    assert workspace.files() == built


def test_forget_has_the_next_build_run_it(workspace: Workspace) -> None:
    workspace.build()
    assert workspace.doit("forget", B).stdout == "forgetting models/x:b\n"
    assert workspace.build(A).up_to_date == {A}
    report = workspace.build()
    assert (report.built, report.up_to_date) == ({B}, {A, C, D})
    workspace.doit("forget", "models/x")
    assert workspace.build().built == {A, B, C}
    workspace.doit("forget", "-s", B)
    assert workspace.build().built == {A, B}
    workspace.doit("forget")
    assert workspace.build().built == {A, B, C, D}
    workspace.doit("forget", "--all")
    assert workspace.build().built == {A, B, C, D}


def test_ignore_has_builds_skip_it_until_it_is_forgotten(workspace: Workspace) -> None:
    assert workspace.doit("ignore", B).stdout == "ignoring models/x:b\n"
    report = workspace.build()
    assert (report.built, report.skipped) == ({A, D}, {B, C})
    assert report.actions[B]["reason"] == "is ignored, until `doit forget models/x:b`"
    assert report.actions[C]["reason"] == "depends on models/x:b, which is ignored, until `doit forget models/x:b`"
    assert workspace.doit("run", "models/x").stdout == "!! models/x:b\n!! models/x:c\n!! models/x\n"
    workspace.doit("forget", B)
    assert workspace.build().built == {B, C}


@pytest.mark.parametrize(
    "arguments", [["run", B], ["run", "build/models/x/b/out.txt"], [B], ["run", "-n", "2", B], ["run", "-P", "process", B]]
)
def test_run_builds_a_target_and_what_it_depends_on(workspace: Workspace, arguments: list[str]) -> None:
    told = workspace.doit(*arguments).stdout
    assert [line.split()[:4] for line in told.splitlines() if "built" in line] == [
        ["[1/2]", "built", "models/x:a", told.split("models/x:a  ")[-1].split()[0]],
        ["[2/2]", "built", "models/x:b", told.split("models/x:b  ")[-1].split()[0]],
    ]
    assert workspace.files().keys() == {"models/x/a/out.txt", "models/x/b/out.txt"}
    assert workspace.doit(*arguments).stdout == ""
    # Run and build know the same.
    assert workspace.build("models/x").up_to_date == {A, B}
    assert workspace.leftovers() == []


@pytest.mark.parametrize("arguments", [["-n", "2", "build"], ["run"], []])
def test_run_builds_all_targets(workspace: Workspace, arguments: list[str]) -> None:
    workspace.doit(*arguments)
    assert workspace.build().up_to_date == {A, B, C, D}


def test_run_in_processes_of_doit_is_refused(workspace: Workspace) -> None:
    assert workspace.refuse("run", "-n", "2", "-P", "process", B).startswith("-P process: every action has a process of its own")
    assert workspace.files() == {}


def test_run_tells_of_a_failure(workspace: Workspace) -> None:
    workspace.write({"models/x/BUILD.py": workspace.read("models/x/BUILD.py").replace(":copy", ":fail", 1)})
    told = workspace.doit("run", "models/x", code=1).stdout
    assert told.endswith("  ValueError: there is no such thing\n        log: build/.enginewright/logs/models/x/a.log\n")
    assert workspace.files() == {}


def test_run_always_runs_again_when_told_to(workspace: Workspace) -> None:
    workspace.build()
    assert "[1/2]   built    models/x:a" in workspace.doit("run", "-a", B).stdout


def test_tasks_of_dodo_depend_on_targets(workspace: Workspace) -> None:
    workspace.write(
        {
            "dodo.py": """
                def task_deliver():
                    return {"actions": ["cp build/models/x/c/out.txt published.txt"], "file_dep": ["build/models/x/c/out.txt"]}

                def task_check():
                    return {"actions": ["test -e build/models/y/d/out.txt"], "task_dep": ["models/y:d"], "verbosity": 2}
                """
        }
    )
    workspace.doit("run", "deliver", "check")
    assert workspace.read("published.txt") == "one\nmore\n"
    assert workspace.doit("run", "deliver").stdout == "-- deliver\n"
    workspace.write({"models/x/more.txt": "less\n"})
    assert ".  deliver\n" in workspace.doit("run", "deliver").stdout
    assert workspace.read("published.txt") == "one\nless\n"


def test_build_works_without_the_loader_setting(workspace: Workspace) -> None:
    (workspace.root / "pyproject.toml").unlink()
    assert workspace.build().built == {A, B, C, D}


def test_a_workspace_may_be_called_from_elsewhere(workspace: Workspace) -> None:
    assert workspace.build().built == {A, B, C, D}
    below = Workspace(workspace.root / "models/x", workspace.store, workspace.trace.path)
    done = below.doit("build", "-k")
    assert ", up to date 4, " in done.stdout


WATCHED = """
import atexit, sys
from doit.__main__ import main
atexit.register(lambda: print("imported", *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr))
sys.argv[0] = "doit"
main()
"""


@pytest.mark.parametrize(
    "command",
    [["list", "--all", "-s"], ["build"], ["plan"], ["why", "models/x:engine_sm_80"], ["info", "models/x:engine_sm_80"], ["clean"]],
)
def test_no_framework_is_imported(workspace: Workspace, command: list[str]) -> None:
    declared = """
        from enginewright import checkpoint, fp16, model_image, onnx_model, tensor, tensorrt_engine

        checkpoint(name="weights", src="net.pth")
        onnx_model(name="onnx", checkpoint=":weights", inputs={"x": tensor("float32", (1, 4))}, outputs=["y"])
        fp16(name="half", model=":onnx")
        tensorrt_engine(name="engine", model=":half", archs=["sm_80"])
        model_image(name="image", engines=":engine")
        """
    workspace.write({"models/x/BUILD.py": declared, "models/x/net.py": "", "models/x/net.pth": ""})
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *command], cwd=workspace.root, env=workspace.environment, capture_output=True, text=True
    )
    imported = done.stderr.rpartition("imported ")[2].split()
    assert {"doit", "enginewright", "xxhash"} <= set(imported)
    assert not {"torch", "onnx", "onnxruntime", "onnxscript", "safetensors", "numpy", "tensorrt_rtx", "tensorrt", "transformers"} & set(
        imported
    )
