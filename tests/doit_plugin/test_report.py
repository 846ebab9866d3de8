"""`doit report` in a throw-away workspace."""

from __future__ import annotations

import re

from throwaway import Workspace

A, B, C, D = "models/x:a", "models/x:b", "models/x:c", "models/y:d"


def row(page: str, label: str) -> list[str]:
    """The cells of a target's row in the table of all actions: label, action, status, reason, time, memory, outputs."""
    (found,) = re.findall(rf'<tr><td class="label">{label}</td>(<td>.*?)</tr>', page, re.DOTALL)
    return [label, *re.findall(r"<td[^>]*>(.*?)</td>", found, re.DOTALL)]


def test_the_last_build_is_reported(workspace: Workspace) -> None:
    workspace.build()
    assert re.fullmatch(r"wrote build/report.html: build \S+\n", workspace.doit("report").stdout)
    page = workspace.read("build/report.html")
    assert row(page, C)[:4] == [C, "PythonAction", "built", "it had never been built here"]
    assert row(page, C)[6] == "18 B"
    assert re.findall(r'<td class="label">(models/x:\w)</td><td class="share">', page)[:3] == [A, B, C]


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
    assert B not in second


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


def test_mistakes(workspace: Workspace) -> None:
    assert "run doit build first" in workspace.refuse("report")
    workspace.build()
    assert "--build -7: no such build" in workspace.refuse("report", "--build", "-7")
    assert "takes no targets" in workspace.refuse("report", A)
