"""`doit query` and `doit graph`: what they print and write, what they refuse, and that they change nothing."""

from __future__ import annotations

import fcntl
import json
from xml.etree import ElementTree

import pytest

from throwaway import Workspace

A, B, C, D = "models/x:a", "models/x:b", "models/x:c", "models/y:d"
SVG = "{http://www.w3.org/2000/svg}"


def stale(picture: str) -> dict[str, bool]:
    """The targets in a picture, and whether they are marked as stale."""
    groups = ElementTree.fromstring(picture).iter(f"{SVG}g")
    titles = {group: group.findtext(f"{SVG}title", "") for group in groups}
    return {title.split("\n")[0]: "stale" in group.get("class", "").split() for group, title in titles.items() if title}


def test_query_prints_labels_in_the_order_of_their_dependencies(workspace: Workspace) -> None:
    expression = "kind(python, rdeps(models/x:b)) + attr(function, make.py:copy, deps(models/x:b)) - models/x:b"
    assert workspace.doit("query", expression).stdout.splitlines() == [A, C]
    workspace.build()
    # From what the build remembers, and without quotes for the shell.
    assert workspace.doit("query", *expression.split()).stdout.splitlines() == [A, C]
    assert workspace.doit("query", "somepath(models/y, models/x)").stdout == ""


def test_query_as_json_tells_what_was_declared(workspace: Workspace) -> None:
    found = json.loads(workspace.doit("query", "deps(models/x:b, 1)", "--json").stdout)
    assert [each["label"] for each in found] == [A, B]
    assert found[1] == {
        "label": B,
        "kind": "python_action",
        "declared": "models/x/BUILD.py:4",
        "attributes": {
            "function": "make.py:copy",
            "inputs": "{src: models/x:a}",
            "outputs": "{out: out.txt}",
            "params": "{}",
            "srcs": "[]",
            "packages": "[]",
            "requires": "{}",
        },
        "deps": [A],
    }
    assert json.loads(workspace.doit("query", "--json", "models/x ^ models/y").stdout) == []


@pytest.mark.parametrize("command", ["query", "graph"])
def test_a_mistake_is_shown_with_its_place(workspace: Workspace, command: str) -> None:
    done = workspace.doit(command, "deps(models/x:bb) + models/y", code=3)
    assert done.stderr == (
        "ERROR: no target 'bb' in package 'models/x' (did you mean 'b'?)\n"
        "  deps(models/x:bb) + models/y\n"
        "       ^\n"
    )  # fmt: skip
    assert done.stdout == ""
    assert workspace.files() == {}


def test_query_wants_an_expression(workspace: Workspace) -> None:
    assert workspace.refuse("query").startswith("which targets? Give an expression, as in: doit query 'deps(PACKAGE)'")
    assert "attr(NAME, VALUE, X)" in workspace.doit("query", "--help").stdout.replace("\n    ", " ")


def test_graph_marks_what_is_stale(workspace: Workspace) -> None:
    def drawn() -> dict[str, bool]:
        return stale(workspace.doit("graph", "-o", "-").stdout)

    assert drawn() == {A: True, B: True, C: True, D: True}
    workspace.build()
    assert drawn() == {A: False, B: False, C: False, D: False}
    workspace.write({"models/x/more.txt": "less\n"})
    assert drawn() == {A: False, B: False, C: True, D: False}
    (workspace.root / "build/models/y/d/out.txt").unlink()
    assert drawn() == {A: False, B: False, C: True, D: True}
    assert "models/y/d/out.txt" not in workspace.files()


def test_graph_draws_what_is_asked_for_into_a_file(workspace: Workspace) -> None:
    assert workspace.doit("graph").stdout == "build/graph.svg: 4 targets, 4 stale\n"
    assert len(stale(workspace.read("build/graph.svg"))) == 4
    told = workspace.doit("graph", "deps(models/x:b)", D, "--output=pictures/part.svg").stdout
    assert told == "pictures/part.svg: 3 targets, 3 stale\n"
    assert set(stale(workspace.read("pictures/part.svg"))) == {A, B, D}
    assert workspace.doit("graph", B, "-o", "/dev/null").stdout == "/dev/null: 1 target, 1 stale\n"
    assert workspace.refuse("graph", "-o", "build") == "Is a directory: build"


def test_graph_as_json_says_what_the_next_build_would_do(workspace: Workspace) -> None:
    workspace.build()
    workspace.write({"models/x/src.txt": "three\n"})
    (workspace.root / "build/models/y/d/out.txt").unlink()
    found = json.loads(workspace.doit("graph", "--json").stdout)
    outputs = {A: ["build/models/x/a/out.txt"], B: ["build/models/x/b/out.txt"], D: ["build/models/y/d/out.txt"]}
    outputs[C] = ["build/models/x/c/out.txt", "build/models/x/c/again.txt"]
    statuses = {A: "to run", B: "may run", C: "may run", D: "to restore"}
    assert found == {
        "nodes": [{"label": each, "kind": "python_action", "status": statuses[each], "outputs": outputs[each]} for each in (A, B, C, D)],
        "edges": [{"from": A, "to": B}, {"from": B, "to": C}],
    }
    steps = json.loads(workspace.doit("plan", "--json").stdout)["steps"]
    assert {step["label"]: step["status"] for step in steps} == statuses
    workspace.build()
    found = json.loads(workspace.doit("graph", "--json", "deps(models/x:c, 1) - models/x:b").stdout)
    assert [(node["label"], node["status"]) for node in found["nodes"]] == [(C, "up to date")]
    assert found["edges"] == []


def test_graph_as_json_goes_into_the_file_that_is_named(workspace: Workspace) -> None:
    assert workspace.doit("graph", "--json", B, "-o", "out/graph.json").stdout == "out/graph.json: 1 target, 1 stale\n"
    found = json.loads(workspace.read("out/graph.json"))
    assert found == json.loads(workspace.doit("graph", "--json", B, "-o", "-").stdout)
    assert workspace.files() == {}


def test_what_is_ignored_is_skipped_in_a_graph(workspace: Workspace) -> None:
    workspace.doit("ignore", B)
    nodes = json.loads(workspace.doit("graph", "--json").stdout)["nodes"]
    assert {node["label"]: node["status"] for node in nodes} == {A: "to run", B: "to skip", C: "to skip", D: "to run"}
    assert stale(workspace.doit("graph", "-o", "-").stdout) == {A: True, B: False, C: False, D: True}


def test_graph_marks_what_cannot_be_built_here(workspace: Workspace) -> None:
    declarations = """
    from enginewright import checkpoint, onnx_model, tensor, tensorrt_engine

    checkpoint(name="weights", src="net.pth")
    onnx_model(
        name="onnx", checkpoint=":weights", inputs={"x": tensor("float32", ("batch", 4))}, outputs=["y"], dims={"batch": (1, 2, 8)}
    )
    tensorrt_engine(name="engine", model=":onnx", archs=["sm_100"])
    """
    workspace.write({"models/m/BUILD.py": declarations, "models/m/net.py": "", "models/m/net.pth": ""})
    picture = workspace.doit("graph", "models/m", "-o", "-").stdout
    assert "skipped (2): cannot be built on this machine, or is ignored" in picture
    assert stale(picture) == {"models/m:weights": True, "models/m:onnx": True, "models/m:engine_sm_100": False, "models/m:engine": False}


def test_a_missing_source_is_a_mistake_that_graph_tells_of(workspace: Workspace) -> None:
    (workspace.root / "models/x/src.txt").unlink()
    assert "the source models/x/src.txt does not exist" in workspace.refuse("graph")
    assert workspace.doit("query", "models/x:a").stdout == f"{A}\n"


def test_looking_waits_for_no_lock_and_changes_no_memory(workspace: Workspace) -> None:
    workspace.build()
    snapshot = workspace.root / "build/.enginewright/snapshot"
    before = (snapshot.read_bytes(), workspace.files())
    workspace.write({"models/x/src.txt": "two\n"})
    with open(workspace.root / "build/.enginewright/lock", "a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        workspace.doit("query", "deps(*)")
        workspace.doit("graph", "-o", "-")
    assert (snapshot.read_bytes(), workspace.files()) == before
