"""A cache shared with other machines: `doit build` against real servers, each of them on the loopback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import cacheservers
from throwaway import PYPROJECT, Report, Workspace

BUILD = """
from enginewright import python_action

python_action(name="first", function="make.py:copy", inputs={"text": "text.txt"}, outputs={"out": "first.txt"}, params={"times": 1000})
python_action(name="second", function="make.py:copy", inputs={"text": ":first"}, outputs={"out": "second.txt", "more": "more.txt"})
python_action(name="last", function="make.py:copy", inputs={"text": ":second"}, outputs={"out": "last.txt"})
"""

FIRST, SECOND, LAST = "models/x:first", "models/x:second", "models/x:last"


@pytest.fixture(params=["casd", "nginx", "folder"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty shared cache."""
    folder = tmp_path / "cache"
    folder.mkdir()
    if request.param == "folder":
        yield f"file://{folder}"
    elif request.param == "nginx":
        with cacheservers.running(cacheservers.nginx(folder)) as server:
            yield f"http://{server.address}/team"
    else:
        with cacheservers.running(cacheservers.casd(folder)) as server:
            yield f"grpc://{server.address}"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with a chain of three actions."""
    made = Workspace(tmp_path / "root", tmp_path / "store", tmp_path / "trace")
    made.write({"dodo.py": "", "pyproject.toml": PYPROJECT, "models/x/BUILD.py": BUILD, "models/x/make.py": made.make})
    made.write({"models/x/text.txt": "some text\n"})
    return made


def elsewhere(workspace: Workspace, name: str) -> Workspace:
    """The same sources on another machine, which has built nothing yet."""
    return workspace.clone(workspace.root.parent / name / "root", workspace.root.parent / name / "store")


def remote(workspace: Workspace, *arguments: str, code: int = 0) -> tuple[Report, dict[str, int]]:
    """Build, and what was had of the remote cache."""
    workspace.trace.lines()
    done = workspace.doit("build", "--json", *arguments, code=code)
    return Report.of(done), json.loads(done.stdout).get("remote", {})


def test_what_one_machine_made_another_gets(workspace: Workspace, cache: str) -> None:
    option = f"--remote-cache={cache}"
    made, traffic = remote(workspace, option)
    assert made.built == {FIRST, SECOND, LAST}
    assert (traffic["hits"], traffic["misses"], traffic["written"], traffic["failures"]) == (0, 3, 3, 0)
    other = elsewhere(workspace, "other")
    found, traffic = remote(other, option)
    assert found.cached == {FIRST, SECOND, LAST}
    assert (traffic["hits"], traffic["misses"], traffic["written"], traffic["failures"]) == (3, 0, 0, 0)
    assert other.files() == workspace.files()
    # And so it stays without it.
    assert other.build().up_to_date == {FIRST, SECOND, LAST}
    shutil.rmtree(other.root / "build")
    assert other.build().cached == {FIRST, SECOND, LAST}
    assert other.doit("cache", "verify")
