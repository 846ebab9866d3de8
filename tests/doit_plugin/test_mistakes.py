"""Mistakes in declarations and settings: one line with file and line, exit code 3, no traceback, and nothing has run."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from throwaway import DOIT, Workspace

PREAMBLE = "from enginewright import checkpoint, fp16, model_image, onnx_model, python_action, tensor, tensorrt_engine\n"
MODEL = """
checkpoint(name="weights", src="net.pth")
onnx_model(name="onnx", checkpoint=":weights", inputs={"x": tensor("float32", ("batch", 4))}, outputs=["y"], dims={"batch": (1, 2, 8)})
"""
COPY = 'python_action(name="a", function="make.py:copy", inputs={"src": "src.txt"}, outputs={"out": "out.txt"})\n'


@pytest.mark.parametrize(
    ("declarations", "message"),
    [
        # An unknown, a missing and a wrong attribute.
        (
            'python_action(name="a", functoin="make.py:copy", outputs={"out": "out.txt"})',
            "models/x/BUILD.py:2: python_action(name='a'): unknown attribute 'functoin' (did you mean 'function'?)",
        ),
        (
            '\npython_action(\n    name="a",\n    function="make.py:copy",\n)',
            "models/x/BUILD.py:3: python_action(name='a'): missing attribute 'outputs' (a dict from a string to a string)",
        ),
        (
            'python_action(name="a", function="make.py:copy", outputs=["out.txt"])',
            "models/x/BUILD.py:2: python_action(name='a'): outputs: expected a dict from a string to a string, got ['out.txt']",
        ),
        # A number that is none: JSON, in which parameters travel, has no word for it.
        *(
            (
                COPY.replace("outputs", f'params={{"scale": [1.0, {{"x": float("{number}")}}]}}, outputs'),
                f"models/x/BUILD.py:2: python_action(name='a'): params['scale'][1]['x']: expected a finite number, got {number}",
            )
            for number in ("nan", "inf", "-inf")
        ),
        # A name that no file should have.
        (
            COPY.replace("out.txt", r"a\0"),
            r"models/x/BUILD.py:2: python_action(name='a'): outputs['out']: 'a\x00' has a character that no file name should have",
        ),
        (
            COPY.replace("out.txt", r"\udc80"),
            r"models/x/BUILD.py:2: python_action(name='a'): outputs['out']: '\udc80' has a character that no file name should have",
        ),
        (
            COPY.replace("src.txt", r"a\0"),
            r"models/x/BUILD.py:2: python_action(name='a'): inputs['src']: 'a\x00' can be no path: it has a NUL character",
        ),
        (
            COPY.replace("out.txt", 256 * "x"),
            f"models/x/BUILD.py:2: python_action(name='a'): outputs['out']: '{256 * 'x'}' is too long for a file name, "
            "which has 255 bytes at most",
        ),
        # What JSON, or Python's reader of it, cannot hold.
        (
            COPY.replace("outputs", "params={'x': 10**5000}, outputs"),
            "models/x/BUILD.py:2: python_action(name='a'): params['x']: is an integer of 16610 bits, of which 10000 are possible: "
            "write it to a file",
        ),
        (
            "d = {}\nd['d'] = d\n" + COPY.replace("outputs", "params=d, outputs"),
            "models/x/BUILD.py:4: python_action(name='a'): params: is nested more than 100 levels deep",
        ),
        ('python_action("a")', "models/x/BUILD.py:2: python_action(): give attributes by name, as in python_action(name=...)"),
        # A dependency that is missing, cyclic, or of another kind.
        (COPY.replace("src.txt", ":b"), "models/x/BUILD.py:2: python_action(name='a'): inputs['src']: there is no target 'models/x:b'"),
        (
            COPY.replace("src.txt", "models/z:b"),
            "models/x/BUILD.py:2: python_action(name='a'): inputs['src']: there is no package 'models/z'",
        ),
        (
            COPY.replace("src.txt", ":a"),
            "models/x/BUILD.py:2: models/x:a depends on itself: models/x:a (models/x/BUILD.py:2) -> models/x:a ",
        ),
        (
            COPY.replace("src.txt", ":b") + COPY.replace('"a"', '"b"').replace("src.txt", ":a"),
            "models/x/BUILD.py:2: models/x:a depends on itself: models/x:a (models/x/BUILD.py:2) -> models/x:b (models/x/BUILD.py:3) -> ",
        ),
        (
            MODEL + 'fp16(name="half", model=":weights")',
            "models/x/BUILD.py:5: fp16(name='half'): model: expected a target that provides 'onnx'",
        ),
        # A name that is taken.
        (
            COPY + COPY,
            "models/x/BUILD.py:3: python_action(name='a'): the name 'a' is taken by a python_action declared at models/x/BUILD.py:2",
        ),
        (
            MODEL + 'tensorrt_engine(name="e", model=":onnx", archs=["sm_80"])\nfp16(name="e_sm_80", model=":onnx")',
            "models/x/BUILD.py:6: fp16(name='e_sm_80'): the name 'e_sm_80' is taken by a tensorrt_engine declared at models/x/BUILD.py:5",
        ),
        # An architecture that does not exist; shape ranges out of order and out of range.
        (
            MODEL + 'tensorrt_engine(name="e", model=":onnx", archs=["sm_80", "sm_81"])',
            "models/x/BUILD.py:5: tensorrt_engine(name='e'): archs: 'sm_81' is no architecture, GPU or family that is known (did",
        ),
        (
            MODEL.replace("(1, 2, 8)", "(8, 2, 1)"),
            "models/x/BUILD.py:4: onnx_model(name='onnx'): dims['batch']: (8, 2, 1) is out of order: expected (min, opt, max)",
        ),
        (
            MODEL + 'tensorrt_engine(name="e", model=":onnx", archs=["sm_80"], dims={"batch": (1, 2, 9)})',
            "models/x/BUILD.py:5: tensorrt_engine(name='e'): dims['batch']: models/x:onnx was exported for sizes 1 to 8 only",
        ),
        (
            MODEL.replace("float32", "float31"),
            "models/x/BUILD.py:4: tensor(): 'float31' is not an element type (did you mean 'float32'?)",
        ),
        (
            MODEL + 'model_image(name="image", engines=":onnx")',
            "models/x/BUILD.py:5: model_image(name='image'): engines: models/x:onnx is an onnx_model",
        ),
        # A source or a distribution that is not there.
        (COPY.replace("src.txt", "nowhere.txt"), "python_action(name='a'): the source models/x/nowhere.txt does not exist"),
        (COPY.replace("make.py", "nowhere.py"), "python_action(name='a'): the source models/x/nowhere.py does not exist"),
        (
            COPY.replace("outputs", 'packages=["no-such-distribution"], outputs'),
            "models/x/BUILD.py:2: python_action(name='a'): the distribution 'no-such-distribution' is not installed here: pip install no",
        ),
        (
            'checkpoint(name="weights", src="dist://no-such-distribution/net.pth", sha256="' + "0" * 64 + '")',
            "models/x/BUILD.py:2: checkpoint(name='weights'): dist://no-such-distribution/net.pth: the distribution 'no-such-distribution'",
        ),
        # Python's own.
        ("python_action(", "models/x/BUILD.py:2: '(' was never closed"),
        ("\n\nprint(1 / 0)", "models/x/BUILD.py:4: ZeroDivisionError: division by zero"),
        (
            "from enginewright import tensorrt_engin",
            "models/x/BUILD.py:2: enginewright has no rule 'tensorrt_engin' (did you mean 'tensorrt_en",
        ),
        ("files_layer(name='a')", "models/x/BUILD.py:2: name 'files_layer' is not defined; add it to 'from enginewright import ...'"),
    ],
)
def test_a_mistake_in_a_build_file(workspace: Workspace, declarations: str, message: str) -> None:
    workspace.write({"models/x/BUILD.py": PREAMBLE + declarations, "models/x/net.pth": ""})
    line = workspace.refuse("build")
    assert message in line
    assert line.startswith("models/x/BUILD.py:")
    assert workspace.files() == {}


def test_a_mistake_is_found_in_a_package_that_is_not_selected(workspace: Workspace) -> None:
    workspace.write({"models/x/BUILD.py": "\nprint(x)\n"})
    assert workspace.refuse("build", "models/y").startswith("models/x/BUILD.py:1: ")
    # Each command says the same.
    assert workspace.refuse("list") == workspace.refuse("run") == workspace.refuse("build")


def test_a_missing_distribution_is_found_before_anything_runs(workspace: Workspace) -> None:
    workspace.write({"models/x/BUILD.py": workspace.read("models/x/BUILD.py").replace('more.txt"}', 'more.txt"}, packages=["no-such"]', 1)})
    assert "the distribution 'no-such' is not installed here: pip install no-such" in workspace.refuse("build")
    assert workspace.files() == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("store = 7", "pyproject.toml: [tool.enginewright] store: expected a folder, as a string"),
        ("packages = 'models/*'", "pyproject.toml: [tool.enginewright] packages: expected a list of glob patterns, such as ['models/*']"),
        ('store = "a\\u0000"', "pyproject.toml: [tool.enginewright] store: expected a folder, as a string"),
        ("stroe = 'x'", "pyproject.toml: [tool.enginewright] has no setting 'stroe' (did you mean 'store'?)"),
    ],
)
def test_a_mistake_in_the_settings(workspace: Workspace, settings: str, message: str) -> None:
    workspace.write({"pyproject.toml": f"{workspace.read('pyproject.toml')}\n[tool.enginewright]\n{settings}\n"})
    assert workspace.refuse("build") == message


def test_a_store_that_cannot_be_one(workspace: Workspace) -> None:
    workspace.store.write_text("")
    assert workspace.refuse("build") == f"Not a directory: {workspace.store}/blobs"


def test_a_folder_without_dodo_is_no_workspace(workspace: Workspace) -> None:
    (workspace.root / "dodo.py").unlink()
    for command in ("build", "plan", "query", "graph", "report", "list", "cache"):
        arguments = {"query": ["*"], "cache": ["stats"]}.get(command, [])
        assert workspace.refuse(command, *arguments) == (
            f"{workspace.root} is no workspace: it has no dodo.py; call doit in the folder of a workspace"
        )
    assert not (workspace.root / "build").exists()


@pytest.mark.parametrize(
    ("dodo", "message"),
    [
        ("\ndef task_x(:\n", "dodo.py:2: invalid syntax"),
        ("import nothing_there", "dodo.py:1: ModuleNotFoundError: No module named 'nothing_there'"),
        ("import sys\nsys.exit(0)", "dodo.py:2: SystemExit: 0"),
        ("def half():\n    return 1 / 0\nhalf()", "dodo.py:2: ZeroDivisionError: division by zero"),
    ],
)
def test_a_mistake_in_dodo(workspace: Workspace, dodo: str, message: str) -> None:
    (workspace.root / "dodo.py").write_text(dodo)
    assert workspace.refuse("build") == workspace.refuse("plan") == workspace.refuse("list") == message


def test_what_dodo_and_build_files_print_is_no_part_of_what_a_command_says(workspace: Workspace) -> None:
    noise = "import os\nprint('noise')\nos.system('echo loud noise')\n"
    workspace.write({"dodo.py": noise, "models/x/BUILD.py": noise + workspace.read("models/x/BUILD.py")})
    done = workspace.doit("build", "--json")
    assert json.loads(done.stdout)["built"] == 4
    assert done.stderr.count("loud noise") == 2


def test_more_actions_at_a_time_than_there_are_and_than_threads_can_be(workspace: Workspace) -> None:
    assert workspace.doit("build", "-n", "99999999999999999999").stdout.splitlines()[-1].startswith("built 4, ")


def test_where_nothing_can_be_written_one_may_look(workspace: Workspace) -> None:
    (workspace.root / "build").write_text("a file, which stands for a disk that is read-only")
    assert workspace.refuse("build") == f"Not a directory: {workspace.root}/build/.enginewright"
    assert "models/x:a" in workspace.doit("list", "--all").stdout
    assert "models/x:a" in workspace.doit("query", "*").stdout


def test_a_current_folder_that_is_gone(workspace: Workspace) -> None:
    command = f"mkdir gone && cd gone && rmdir ../gone && {DOIT} build"
    done = subprocess.run(["sh", "-c", command], cwd=workspace.root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (3, "ERROR: the current folder was removed: go to one that is there\n")


@pytest.mark.parametrize("kind", ["pipe", "device", "loop", "nowhere"])
def test_a_source_that_is_no_file(workspace: Workspace, kind: str) -> None:
    source = workspace.root / "models/x/src.txt"
    source.unlink()
    if kind == "pipe":
        os.mkfifo(source)
    else:
        source.symlink_to({"device": "/dev/zero", "loop": source.name, "nowhere": "nowhere"}[kind])
    assert workspace.refuse("build").endswith(
        ": the source models/x/src.txt is no regular file, nor a link to one, where a file is expected"
    )


def test_a_workspace_without_targets(workspace: Workspace) -> None:
    workspace.write({"pyproject.toml": workspace.read("pyproject.toml") + '[tool.enginewright]\npackages = ["modles/*"]\n'})
    for _ in range(2):
        assert workspace.doit("build").stderr.startswith("there are no targets: a BUILD.py declares them, in a folder that matches ")


def test_a_folder_in_a_workspace_is_told_where_that_is(workspace: Workspace) -> None:
    below = Workspace(workspace.root / "models/x", workspace.store, workspace.trace.path)
    hint = f"there is one in {workspace.root}: call doit there, or with -k"
    assert below.refuse("build") == f"{below.root} is no workspace: it has no dodo.py; {hint}"
    assert below.doit("plan", "-k").stdout.endswith("up to date 0\n" + "time: unknown for 4 of them, which are left out of what follows\n")


def test_info_of_a_task_that_is_not_there(workspace: Workspace) -> None:
    assert workspace.refuse("info", "models/x:aa") == (
        "there is no task 'models/x:aa' (did you mean 'models/x:a'?): 'doit list --all' has them"
    )
    assert workspace.refuse("info", "nothing") == "there is no task 'nothing': 'doit list --all' has them"


def test_doit_of_another_version_can_be_asked_for(workspace: Workspace) -> None:
    workspace.write({"dodo.py": "DOIT_CONFIG = {'minversion': '999.0.0'}"})
    assert workspace.refuse("build").startswith("Please update doit. Minimum version required is 999.0.0.")


@pytest.mark.parametrize(("option", "message"), [("--process=two", "--process two"), ("-ntwo", "-n two"), ("-n2.5", "-n 2.5")])
def test_a_number_that_is_none(workspace: Workspace, option: str, message: str) -> None:
    assert workspace.refuse("plan", option) == workspace.refuse("build", option) == f"{message}: expected a whole number"


def test_an_option_with_an_empty_value_takes_nothing_else_for_it(workspace: Workspace) -> None:
    assert workspace.doit("graph", "--output=", "models/y").stdout == "build/graph.svg: 1 target, 1 stale\n"
    assert workspace.doit("query", "--", "models/y:d").stdout == "models/y:d\n"


@pytest.mark.parametrize("arguments", [[""], ["build", ""], ["graph", "--output", ""]])
def test_an_argument_that_is_empty(workspace: Workspace, arguments: list[str]) -> None:
    """As of "$VARIABLE" in a script."""
    assert workspace.refuse(*arguments) == "an argument is empty: is it a variable that is not set?"


BEYOND = {
    "--remote-cache=gprc://h:1": "gprc://h:1: expected grpc://HOST:PORT[/INSTANCE], ",
    "--remote-cache=grpc://h:many": "grpc://h:many: Port could not be cast to integer value as 'many'",
    "--remote-cache=http://user:secret@h": "http://...@h: give a token by ENGINEWRIGHT_REMOTE_TOKEN or token-file",
    "--remote-executor=http://h": "--remote-executor: expected grpc://HOST:PORT[/INSTANCE] or grpcs://..., got http",
    "--remote-mode=reed": "--remote-mode: expected one of read, write, read-write, got 'reed'",
    "--remote-execution=allways": "remote-execution: there is no 'allways' (did you mean 'always'?)",
    "--remote-tls-ca=none.pem": "--remote-tls-ca: there is no file ",
}


def test_an_option_for_another_machine_that_makes_no_sense(workspace: Workspace) -> None:
    said = [workspace.refuse("build", option) for option in BEYOND]
    assert [text[: len(message)] for text, message in zip(said, BEYOND.values())] == list(BEYOND.values())
    workspace.build()
    assert [workspace.refuse("build", option) for option in BEYOND] == said  # also when there is nothing to do


def test_a_variable_for_another_machine_that_makes_no_sense(workspace: Workspace) -> None:
    workspace.build()
    workspace.environment["ENGINEWRIGHT_REMOTE_CACHE"] = "cache.example.com"
    assert workspace.refuse("build").startswith("cache.example.com: expected grpc://HOST:PORT[/INSTANCE], ")
    workspace.environment["ENGINEWRIGHT_REMOTE_CACHE"] = "grpc://127.0.0.1:9"  # where nothing is, but nothing is asked for
    assert "up to date 4" in workspace.doit("build").stdout
