"""`doit report` in a throw-away workspace."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from xml.etree import ElementTree

from throwaway import Workspace

A, B, C, D = "models/x:a", "models/x:b", "models/x:c", "models/y:d"
SVG = "{http://www.w3.org/2000/svg}"


def drawn(page: str) -> dict[str, tuple[str, str]]:
    """What the graph on a page says became of each target, and its marks; the colours must be those of the legend."""
    (text,) = re.findall(r'<div class="picture">(.*?)</div>', page, re.DOTALL)
    picture = ElementTree.fromstring(text)
    legend: dict[str, str] = {}
    found: dict[str, tuple[str, str]] = {}
    for group in picture.iter(f"{SVG}g"):
        colour, _, marks = group.get("class", "").partition(" ")
        title = group.findtext(f"{SVG}title", "").splitlines()
        if not title:
            legend[colour] = group.findtext(f"{SVG}text", "").rpartition(" (")[0]
            continue
        assert title[1].startswith(legend[colour])
        found[title[0]] = legend[colour], marks
    return found


def lines(page: str) -> int:
    """How many dependencies the graph on a page shows."""
    return page.count('<path class="edge"')


def row(page: str, label: str) -> list[str]:
    """The cells of a target's row in the table of all actions: label, action, status, reason, time, memory, outputs."""
    (found,) = re.findall(rf'<tr><td class="label">{label}</td>(<td>.*?)</tr>', page, re.DOTALL)
    return [label, *re.findall(r"<td[^>]*>(.*?)</td>", found, re.DOTALL)]


def test_the_last_build_is_reported(workspace: Workspace) -> None:
    workspace.build()
    assert re.fullmatch(r"build/report.html: build \S+\n", workspace.doit("report").stdout)
    page = workspace.read("build/report.html")
    assert row(page, C)[:4] == [C, "PythonAction", "built", "it had never been built here"]
    assert row(page, C)[6] == "18 B"
    assert re.findall(r'<td class="label">(models/x:\w)</td><td class="share">', page)[:3] == [A, B, C]


def test_names_of_files_need_not_be_utf8(workspace: Workspace) -> None:
    workspace.build()
    (workspace.root / os.fsdecode(b"models/y/\xff.txt")).write_text("three\n")
    declared = workspace.read("models/y/BUILD.py").replace('"src.txt"', 'glob("?.txt")[0]')
    workspace.write({"models/y/BUILD.py": f"from enginewright import glob\n{declared}"})
    workspace.build()
    workspace.doit("report")
    assert r"models/y/\udcff.txt" in workspace.read("build/report.html")
    workspace.environment["PYTHONIOENCODING"] = "utf-8:strict"
    assert r"models/y/\udcff.txt" in workspace.doit("why", "models/y:d").stdout


def test_a_past_build_is_reported_as_it_was(workspace: Workspace) -> None:
    workspace.build()
    workspace.write({"models/x/src.txt": "one\n# no difference\n"})
    workspace.build()
    workspace.write({"models/x/BUILD.py": "this is no Python\n"})
    workspace.doit("report", "--build", "-2", "-o", "out/first.html")
    workspace.doit("report", "-o", "out/second.html")
    assert row(workspace.read("out/first.html"), B)[2] == "built"
    second = workspace.read("out/second.html")
    assert row(second, A)[2] == "built"
    assert row(second, A)[3].startswith("source models/x/src.txt changed: ")
    assert [row(second, label)[2] for label in (A,)] == ["built"]
    assert f'<td class="label">{B}</td>' not in second


def test_restored_and_failed_targets_have_their_reasons(workspace: Workspace) -> None:
    workspace.build()
    (workspace.root / "build/models/x/a/out.txt").unlink()
    workspace.write({"models/y/BUILD.py": workspace.read("models/y/BUILD.py").replace("copy", "fail")})
    workspace.build(code=1)
    workspace.doit("report")
    page = workspace.read("build/report.html")
    assert row(page, A)[2:4] == ["cached", "build/models/x/a/out.txt missing or changed on disk"]
    assert row(page, D)[2] == "failed"
    assert "there is no such thing" in row(page, D)[3]


def test_an_input_that_another_build_made_is_told_by_its_target(workspace: Workspace) -> None:
    workspace.build()
    workspace.write({"models/x/src.txt": "three\n"})
    workspace.build(A)
    workspace.build()
    workspace.doit("report")
    assert row(workspace.read("build/report.html"), B)[3].startswith(f"input {A} changed: ")
    assert json.loads(workspace.doit("report", "--json").stdout)["actions"][0]["deps"] == []


def test_the_graph_shows_what_became_of_each_target_and_what_that_was_made_of(workspace: Workspace) -> None:
    workspace.build()
    workspace.doit("report")
    page = workspace.read("build/report.html")
    assert {label: status for label, (status, _) in drawn(page).items()} == dict.fromkeys([A, B, C, D], "built")
    assert [label for label, (_, marks) in drawn(page).items() if marks == "critical"] in ([A, B, C], [D])
    assert lines(page) == 2

    workspace.write({"models/x/more.txt": "less\n"})
    (workspace.root / "build/models/x/b/out.txt").unlink()
    workspace.build()
    workspace.doit("report")
    page = workspace.read("build/report.html")
    assert drawn(page) == {A: ("up to date", ""), B: ("cached", "critical"), C: ("built", "critical")}
    assert lines(page) == 2


def test_the_graph_shows_what_failed_and_what_was_skipped(workspace: Workspace) -> None:
    workspace.write({"models/y/BUILD.py": workspace.read("models/y/BUILD.py").replace("copy", "fail")})
    workspace.doit("ignore", B)
    workspace.build(code=1)
    workspace.doit("report")
    page = workspace.read("build/report.html")
    assert {label: status for label, (status, _) in drawn(page).items()} == {A: "built", B: "skipped", C: "skipped", D: "failed"}
    assert lines(page) == 2


def test_a_large_graph_is_not_drawn(workspace: Workspace) -> None:
    declared = "from enginewright import python_action\n" + "".join(
        f'python_action(name="t{i}", function="make.py:copy", inputs={{"src": "src.txt"}}, outputs={{"out": "out.txt"}})\n'
        for i in range(301)
    )
    workspace.write({"models/x/BUILD.py": declared})
    workspace.doit("ignore", *(f"models/x:t{i}" for i in range(301)))
    workspace.build()
    workspace.doit("report")
    page = workspace.read("build/report.html")
    assert "302 targets are too many to draw here." in page
    assert '<svg class="graph"' not in page


def test_the_same_as_json(workspace: Workspace) -> None:
    built = workspace.build("models/x")
    found = json.loads(workspace.doit("report", "--json").stdout)
    assert (found["args"], found["critical_path"]) == (["models/x"], [A, B, C])
    assert [each["label"] for each in found["actions"]] == [A, B, C]
    for each in found["actions"]:
        told = built.actions[each["label"]]
        assert (each["status"], each["mnemonic"], each["peak_rss"]) == (told["status"], told["mnemonic"], told["peak_rss"])
        assert each["outputs"] == [{"path": output["path"], "size": output["size"]} for output in told["outputs"]]
    assert found["actions"][2]["deps"] == [B]
    assert found["actions"][2]["reason"] == "it had never been built here"
    assert workspace.doit("report", "--json", "-o", "out/report.json").stdout == f"out/report.json: build {found['id']}\n"
    assert json.loads(workspace.read("out/report.json")) == found
    assert not (workspace.root / "build/report.html").exists()


def test_the_page_goes_where_it_is_told_to(workspace: Workspace, tmp_path: Path) -> None:
    workspace.build()
    page = workspace.doit("report", "-o", "-").stdout
    assert page.startswith("<!doctype html>") and page.endswith("</html>\n")
    assert not (workspace.root / "-").exists()
    (tmp_path / "link.html").symlink_to(tmp_path / "page.html")
    workspace.doit("report", "-o", str(tmp_path / "link.html"))
    assert (tmp_path / "page.html").read_text() == page
    assert (tmp_path / "link.html").is_symlink()
    assert workspace.refuse("report", "-o", "models") == "Is a directory: models"


def test_mistakes(workspace: Workspace) -> None:
    assert "run doit build first" in workspace.refuse("report")
    workspace.build()
    assert "--build -7: no such build" in workspace.refuse("report", "--build", "-7")
    assert "takes no targets" in workspace.refuse("report", A)


def test_what_failed_is_annotated_at_its_line(workspace: Workspace) -> None:
    workspace.build()
    assert workspace.doit("report", "--annotations=github").stdout == ""
    workspace.write({"models/y/BUILD.py": workspace.read("models/y/BUILD.py").replace(":copy", ":fail")})
    workspace.build(code=1)
    at = next(i for i, line in enumerate(workspace.read("models/y/make.py").splitlines(), 1) if "no such thing" in line)
    (line,) = workspace.doit("report", "--annotations=github").stdout.splitlines()
    assert line.startswith(f"::error file=models/y/make.py,line={at},title=models/y%3Ad failed::fail() failed:%0A")
    workspace.doit("report", "--annotations=gitlab", "-o", "out/quality.json")
    (found,) = json.loads(workspace.read("out/quality.json"))
    assert found["location"] == {"path": "models/y/make.py", "lines": {"begin": at}}


def test_a_mistake_in_a_build_file_is_annotated(workspace: Workspace) -> None:
    assert workspace.doit("report", "--annotations=github").stdout == ""
    workspace.write({"models/x/BUILD.py": "\nfrom enginewright import checkpoint\n\ncheckpoint(nme='x')\n"})
    (line,) = workspace.doit("report", "--annotations=github").stdout.splitlines()
    assert line.startswith("::error file=models/x/BUILD.py,line=3,title=the workspace cannot be loaded::models/x/BUILD.py:3: checkpoint()")
    assert workspace.refuse("report", "--annotations=jenkins") == "--annotations=jenkins: there are github and gitlab"
